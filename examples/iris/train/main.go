// Command train fits the two models of the iris example on part of the data and
// judges them on the rest. It writes model-v1.json (sepals only), model-v2.json
// (all four measurements) and held-out.csv (the rows that neither has seen).
//
//	go run ./examples/iris/train
package main

import (
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"cortex.dev/cortex/examples/iris/classifier"
)

// What is held back, and the seed that decides which rows.
const (
	share = 0.3
	seed  = 1936
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("train", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", filepath.Join("examples", "iris"), "the folder with iris.csv, where the models are written")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if err := train(*dir, stdout); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

func train(dir string, stdout io.Writer) error {
	flowers, err := classifier.ReadCSV(filepath.Join(dir, "iris.csv"))
	if err != nil {
		return err
	}
	training, held := classifier.Split(flowers, share, seed)
	fmt.Fprintf(stdout, "%d flowers: %d to learn from, %d held out\n", len(flowers), len(training), len(held))
	for _, m := range []*classifier.Model{
		classifier.Train("v1", classifier.Features[:2], training),
		classifier.Train("v2", classifier.Features, training),
	} {
		m.Held = classifier.Held{Rows: len(held), Correct: m.Correct(held)}
		file := "model-" + m.Version + ".json"
		if err := writeModel(filepath.Join(dir, file), m); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: %d of %d held-out flowers right (%.1f %%), from %s\n", file,
			m.Held.Correct, m.Held.Rows, 100*float64(m.Held.Correct)/float64(m.Held.Rows), strings.Join(m.Features, ", "))
	}
	return writeHeldOut(filepath.Join(dir, "held-out.csv"), held)
}

func writeModel(path string, m *classifier.Model) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.WriteFile(path, append(data, '\n'), 0o644) //nolint:gosec // meant to be read by everyone
}

func writeHeldOut(path string, held []classifier.Flower) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := csv.NewWriter(file)
	rows := [][]string{append(append([]string{}, classifier.Features...), "species")}
	for _, f := range held {
		var row []string
		for _, x := range f.Measurements {
			row = append(row, strconv.FormatFloat(x, 'f', 1, 64))
		}
		rows = append(rows, append(row, f.Species))
	}
	if err := w.WriteAll(rows); err != nil {
		_ = file.Close() // the write's error says more
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return file.Close()
}
