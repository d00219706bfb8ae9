// Writes the cases with hamba/avro or with linkedin/goavro: `go run . hamba|goavro` prints the lines.
package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/linkedin/goavro/v2"
)

const recorded = "../.."

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func read(path string) []byte {
	content, err := os.ReadFile(filepath.Join(recorded, path))
	check(err)
	return content
}

func event(values map[string]any, version int, optional func(any) any) map[string]any {
	event := map[string]any{"schema_version": version}
	for name, value := range values {
		switch name {
		case "event_time", "ingest_time":
			instant, err := time.Parse(time.RFC3339Nano, value.(string))
			check(err)
			event[name] = instant
		case "amount":
			amount, _ := new(big.Rat).SetString(value.(string))
			event[name] = amount
		case "quantity":
			event[name] = int(value.(float64))
		case "promo_code", "sales_channel":
			if version == 2 {
				event[name] = optional(value)
			}
		default:
			event[name] = value
		}
	}
	return event
}

func hamba(schema string) func(map[string]any, int) []byte {
	parsed, err := avro.ParseBytesWithCache([]byte(schema), "", &avro.SchemaCache{})
	check(err)
	return func(values map[string]any, version int) []byte {
		body, err := avro.Marshal(parsed, event(values, version, func(value any) any { return value }))
		check(err)
		return body
	}
}

func linkedin(schema string) func(map[string]any, int) []byte {
	codec, err := goavro.NewCodec(schema)
	check(err)
	return func(values map[string]any, version int) []byte {
		body, err := codec.BinaryFromNative(nil, event(values, version, func(value any) any {
			if value == nil {
				return nil
			}
			return goavro.Union("string", value)
		}))
		if err != nil { // goavro does not widen zero to the size of its fixed
			fmt.Fprintln(os.Stderr, err)
			return nil
		}
		return body
	}
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	return "?"
}

func main() {
	codec, by := hamba, "hamba/avro "+version("github.com/hamba/avro/v2")
	if os.Args[1] == "goavro" {
		codec, by = linkedin, "linkedin/goavro "+version("github.com/linkedin/goavro/v2")
	}
	var cases map[string]map[string]any
	check(json.Unmarshal(read("cases.json"), &cases))
	names := make([]string, 0, len(cases))
	for name := range cases {
		names = append(names, name)
	}
	sort.Strings(names)
	published := "../../../rtap_assets/schemas/sales.events.v1-value/"
	for _, schema := range [][2]string{{"1", published + "1.avsc"}, {"2", published + "2.avsc"}, {"fixed", "fixed.avsc"}} {
		write := codec(string(read(schema[1])))
		number := 2
		if schema[0] == "1" {
			number = 1
		}
		for _, name := range names {
			body := write(cases[name], number)
			if body == nil {
				continue
			}
			line, err := json.Marshal(map[string]string{
				"schema": schema[0], "case": name, "body": hex.EncodeToString(body), "by": by,
			})
			check(err)
			fmt.Println(string(line))
		}
	}
}
