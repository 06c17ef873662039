package embedded_test

import (
	"fmt"
	"log"
	"os"

	"github.com/tidemarkdb/tidemark/embedded"
)

type City struct {
	ID         int64  `tidemark:"id,key"`
	Name       string `tidemark:"name"`
	Population int64  `tidemark:"population"`
}

func Example() {
	dir, err := os.MkdirTemp("", "cities")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := embedded.Open(dir, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	cities := embedded.Of[City]("city")
	err = db.Update(func(tx *embedded.Tx) error {
		return cities.Put(tx, City{1, "Gent", 265086}, City{2, "Århus", 290598})
	})
	if err != nil {
		log.Fatal(err)
	}
	err = db.View(func(tx *embedded.Tx) error {
		for c, err := range cities.All(tx) {
			if err != nil {
				return err
			}
			fmt.Println(c.ID, c.Name, c.Population)
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// 1 Gent 265086
	// 2 Århus 290598
}
