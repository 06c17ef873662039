package demo

import (
	"bufio"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// data/README.md says where these come from.
var (
	//go:embed data/cities.tsv.zst
	citiesFile []byte
	//go:embed data/regions.tsv.zst
	regionsFile []byte
)

// Attribution is what must stand where the data is shown.
const Attribution = "Data: GeoNames (https://www.geonames.org), licensed CC BY 4.0"

// city is a line of the file of cities.
type city struct {
	id                            int64 // number of the line
	name, country, region, county string
	latitude, longitude           float64
}

// region is a line of the file of regions.
type region struct{ code, name string }

func readCities() ([]city, error) {
	var out []city
	err := readLines(citiesFile, 6, func(f []string) (err error) {
		c := city{id: int64(len(out) + 1), name: f[0], country: f[1], region: f[2], county: f[3]}
		if c.latitude, err = strconv.ParseFloat(f[4], 64); err != nil {
			return err
		}
		if c.longitude, err = strconv.ParseFloat(f[5], 64); err != nil {
			return err
		}
		out = append(out, c)
		return nil
	})
	return out, err
}

func readRegions() ([]region, error) {
	var out []region
	err := readLines(regionsFile, 2, func(f []string) error {
		out = append(out, region{code: f[0], name: f[1]})
		return nil
	})
	return out, err
}

// readLines calls fn with the fields of each line but the first.
func readLines(file []byte, fields int, fn func([]string) error) error {
	z, err := zstd.NewReader(bytes.NewReader(file))
	if err != nil {
		return fmt.Errorf("the demonstration's data: %w", err)
	}
	defer z.Close()
	r := bufio.NewReader(z)
	for line := 0; ; line++ {
		text, err := r.ReadString('\n')
		if err == io.EOF && text == "" {
			return nil
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("the demonstration's data: %w", err)
		}
		if line == 0 {
			continue
		}
		f := strings.Split(strings.TrimSuffix(text, "\n"), "\t")
		if len(f) != fields {
			return fmt.Errorf("the demonstration's data: line %d has %d fields, want %d", line+1, len(f), fields)
		}
		if err := fn(f); err != nil {
			return fmt.Errorf("the demonstration's data: line %d: %w", line+1, err)
		}
	}
}
