package embedded

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/change"
)

// field is a struct's field as a column.
type field struct {
	index  int
	typ    reflect.Type // the field's, without the pointer
	key    bool
	column change.Column
	get    func(reflect.Value) (change.Value, error)
	set    func(reflect.Value, change.Value) error
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

// structFields returns the columns of a struct type.
func structFields(t reflect.Type) ([]field, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s is not a struct", t)
	}
	var out []field
	names := make(map[string]string)
	for i := range t.NumField() {
		sf := t.Field(i)
		tag := sf.Tag.Get("tidemark")
		if tag == "-" || (!sf.IsExported() && tag == "") {
			continue
		}
		f, err := structField(sf, tag)
		if err != nil {
			return nil, fmt.Errorf("field %s of %s: %w", sf.Name, t, err)
		}
		if other := names[f.column.Name]; other != "" {
			return nil, fmt.Errorf("fields %s and %s of %s are both column %q", other, sf.Name, t, f.column.Name)
		}
		names[f.column.Name] = sf.Name
		f.index = i
		out = append(out, f)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no exported field to store", t)
	}
	return out, nil
}

func structField(sf reflect.StructField, tag string) (f field, err error) {
	if !sf.IsExported() {
		return f, fmt.Errorf("it has a tag and is not exported")
	}
	name, options, _ := strings.Cut(tag, ",")
	if f.column.Name = name; name == "" {
		f.column.Name = sf.Name
	}
	f.typ = sf.Type
	if sf.Type.Kind() == reflect.Pointer {
		f.typ, f.column.Nullable = sf.Type.Elem(), true
	}
	f.get, f.set = scalar(f.typ, &f.column.Type)
	if f.get == nil {
		return f, fmt.Errorf("a %s can't be a column (want bool, an integer up to int64, float, string, []byte, time.Time or a pointer to one)", sf.Type)
	}
	var def *string
	for o := range strings.SplitSeq(options, ",") {
		k, v, _ := strings.Cut(o, "=")
		switch {
		case o == "":
		case o == "key":
			f.key = true
		case o == "decimal" && f.column.Type == change.Text:
			f.column.Type, f.get = change.Decimal, func(v reflect.Value) (change.Value, error) { return change.ParseDecimal(v.String()) }
		case k == "native" && v != "" && f.column.Type == change.Text:
			f.column.Type, f.column.NativeType = change.Native, v
			f.get = func(v reflect.Value) (change.Value, error) { return change.NativeValue(v.String()), nil }
		case k == "default":
			def = &v
		default:
			return f, fmt.Errorf("unknown or unfitting option %q (want key, decimal, native=<type> or default=<text>)", o)
		}
	}
	if f.key && f.column.Nullable {
		return f, fmt.Errorf("a key can't be a pointer")
	}
	if err := f.setDefault(def); err != nil {
		return f, err
	}
	if f.column.Nullable {
		f.throughPointer()
	}
	return f, nil
}

// setDefault says what rows hold that are older than the column.
func (f *field) setDefault(text *string) (err error) {
	switch {
	case text != nil:
		f.column.Default, err = change.ParseValue(f.column.Type, *text)
	case f.column.Nullable:
		f.column.Default = change.Null()
	case f.column.Type == change.Decimal:
		f.column.Default, err = change.ParseDecimal("0")
	default:
		f.column.Default, err = f.get(reflect.Zero(f.typ))
	}
	if err != nil {
		return fmt.Errorf("default: %w", err)
	}
	return nil
}

// throughPointer makes nil and null the same.
func (f *field) throughPointer() {
	get, set, typ := f.get, f.set, f.typ
	f.get = func(v reflect.Value) (change.Value, error) {
		if v.IsNil() {
			return change.Null(), nil
		}
		return get(v.Elem())
	}
	f.set = func(v reflect.Value, val change.Value) error {
		if val.IsNull() {
			v.SetZero()
			return nil
		}
		v.Set(reflect.New(typ))
		return set(v.Elem(), val)
	}
}

// scalar returns the type of column for a Go type and how values go to and
// fro; nil for a type that can't be a column.
func scalar(t reflect.Type, col *change.Type) (func(reflect.Value) (change.Value, error), func(reflect.Value, change.Value) error) {
	type get = func(reflect.Value) (change.Value, error)
	type set = func(reflect.Value, change.Value) error
	switch {
	case t == timeType:
		*col = change.Timestamp
		return func(v reflect.Value) (change.Value, error) {
				return timeValue(v.Interface().(time.Time))
			}, func(v reflect.Value, val change.Value) error {
				v.Set(reflect.ValueOf(val.Time().Std()))
				return nil
			}
	case t == bytesType:
		*col = change.Bytes
		return func(v reflect.Value) (change.Value, error) { return change.BytesValue(v.Bytes()), nil },
			func(v reflect.Value, val change.Value) error { v.SetBytes([]byte(val.Str())); return nil }
	}
	switch t.Kind() {
	case reflect.Bool:
		*col = change.Bool
		return func(v reflect.Value) (change.Value, error) { return change.BoolValue(v.Bool()), nil },
			func(v reflect.Value, val change.Value) error { v.SetBool(val.Bool()); return nil }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		*col = change.Int64
		return func(v reflect.Value) (change.Value, error) { return change.IntValue(v.Int()), nil }, setInt
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		*col = change.Int64
		return func(v reflect.Value) (change.Value, error) { return change.IntValue(int64(v.Uint())), nil }, setUint
	case reflect.Float32, reflect.Float64:
		*col = change.Float64
		return func(v reflect.Value) (change.Value, error) { return change.FloatValue(v.Float()), nil },
			func(v reflect.Value, val change.Value) error { v.SetFloat(val.Float()); return nil }
	case reflect.String:
		*col = change.Text
		return func(v reflect.Value) (change.Value, error) { return change.TextValue(v.String()), nil },
			func(v reflect.Value, val change.Value) error { v.SetString(val.Str()); return nil }
	}
	return get(nil), set(nil)
}

func setInt(v reflect.Value, val change.Value) error {
	if v.OverflowInt(val.Int()) {
		return fmt.Errorf("%d does not fit into %s", val.Int(), v.Type())
	}
	v.SetInt(val.Int())
	return nil
}

func setUint(v reflect.Value, val change.Value) error {
	if val.Int() < 0 || v.OverflowUint(uint64(val.Int())) {
		return fmt.Errorf("%d does not fit into %s", val.Int(), v.Type())
	}
	v.SetUint(uint64(val.Int()))
	return nil
}

// timeValue refuses what microseconds in 64 bits can't hold.
func timeValue(t time.Time) (change.Value, error) {
	if s := t.Unix(); s > math.MaxInt64/1_000_000-1 || s < math.MinInt64/1_000_000+1 {
		return change.Value{}, fmt.Errorf("time %s is out of range", t)
	}
	return change.TimeValue(change.TimeOf(t)), nil
}
