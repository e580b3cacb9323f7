// Package classifier tells the species of an iris from four measurements. It is
// what the example's server serves and what its trainer writes: a multinomial
// logistic regression, small enough to read in a minute.
//
// It promises that a model read by Load predicts the same everywhere: the file
// holds every number that a prediction needs. It must not know about HTTP.
package classifier

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
)

// Features are the names of the measurements, in the order of a Flower's numbers.
var Features = []string{"sepal_length", "sepal_width", "petal_length", "petal_width"}

// Flower is one iris: the four measurements in centimetres, and its species where
// it is known.
type Flower struct {
	Measurements [4]float64
	Species      string
}

// MarshalJSON writes the measurements by name, as the server reads them.
func (f Flower) MarshalJSON() ([]byte, error) {
	named := make(map[string]float64, len(Features))
	for i, name := range Features {
		named[name] = f.Measurements[i]
	}
	return json.Marshal(named)
}

// Model is a trained multinomial logistic regression over standardised features.
type Model struct {
	Version  string      `json:"version"`
	Features []string    `json:"features"` // those it looks at, a subset of Features
	Species  []string    `json:"species"`
	Mean     []float64   `json:"mean"`    // of each feature in the training rows
	Scale    []float64   `json:"scale"`   // standard deviation of each feature there
	Weights  [][]float64 `json:"weights"` // one row per species, one column per feature
	Bias     []float64   `json:"bias"`    // one per species
	Held     Held        `json:"held_out"`
}

// Held says how the model did on rows it never saw in training.
type Held struct {
	Rows    int `json:"rows"`
	Correct int `json:"correct"`
}

// Load reads a model file and checks that its parts fit together.
func Load(path string) (*Model, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the model: %w", err)
	}
	var m Model
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("reading the model %s: %w", path, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("model %s: %w", path, err)
	}
	return &m, nil
}

func (m *Model) check() error {
	n := len(m.Features)
	switch {
	case n == 0 || len(m.Species) == 0:
		return errors.New("it has no features or no species")
	case len(m.Mean) != n || len(m.Scale) != n:
		return fmt.Errorf("it has %d features, %d means and %d scales", n, len(m.Mean), len(m.Scale))
	case len(m.Weights) != len(m.Species) || len(m.Bias) != len(m.Species):
		return fmt.Errorf("it has %d species, %d rows of weights and %d biases", len(m.Species), len(m.Weights), len(m.Bias))
	}
	for _, f := range m.Features {
		if !slices.Contains(Features, f) {
			return fmt.Errorf("it wants the feature %q, which no flower has", f)
		}
	}
	for i, row := range m.Weights {
		if len(row) != n {
			return fmt.Errorf("row %d of its weights has %d columns, want %d", i, len(row), n)
		}
	}
	for i, s := range m.Scale {
		if s <= 0 {
			return fmt.Errorf("scale %d is %v, want a positive number", i, s)
		}
	}
	return nil
}

// Predict returns the probability of each species, in the order of m.Species.
func (m *Model) Predict(f Flower) []float64 {
	scores := slices.Clone(m.Bias)
	for j, name := range m.Features {
		x := (f.Measurements[slices.Index(Features, name)] - m.Mean[j]) / m.Scale[j]
		for i := range scores {
			scores[i] += m.Weights[i][j] * x
		}
	}
	return softmax(scores)
}

// Best returns the species that Predict finds most probable.
func (m *Model) Best(f Flower) string {
	p := m.Predict(f)
	return m.Species[slices.Index(p, slices.Max(p))]
}

// Correct counts the flowers whose species the model gets right.
func (m *Model) Correct(flowers []Flower) int {
	correct := 0
	for _, f := range flowers {
		if m.Best(f) == f.Species {
			correct++
		}
	}
	return correct
}

// softmax turns scores into probabilities, in place. The largest is subtracted
// first so that no exponential overflows.
func softmax(scores []float64) []float64 {
	top, sum := slices.Max(scores), 0.0
	for i, s := range scores {
		scores[i] = math.Exp(s - top)
		sum += scores[i]
	}
	for i := range scores {
		scores[i] /= sum
	}
	return scores
}

// ReadCSV reads flowers from a file with a header and the columns of Features
// and species.
func ReadCSV(path string) ([]Flower, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading flowers: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	r := csv.NewReader(file)
	r.FieldsPerRecord = len(Features) + 1
	if _, err := r.Read(); err != nil {
		return nil, fmt.Errorf("reading the header of %s: %w", path, err)
	}
	var flowers []Flower
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return flowers, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		f := Flower{Species: record[len(Features)]}
		for i := range Features {
			if f.Measurements[i], err = strconv.ParseFloat(record[i], 64); err != nil {
				line, _ := r.FieldPos(i)
				return nil, fmt.Errorf("%s:%d: %s: %w", path, line, Features[i], err)
			}
		}
		flowers = append(flowers, f)
	}
}
