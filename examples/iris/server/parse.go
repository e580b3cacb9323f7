package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"cortex.dev/cortex/examples/iris/classifier"
)

// What one request may carry.
const (
	maxBody    = 1 << 20
	maxFlowers = 1000
	maxLength  = 100 // centimetres
)

// parse reads one flower, or a list of them; single says which it was.
func parse(body io.Reader) (flowers []classifier.Flower, single bool, err error) {
	data, err := io.ReadAll(body)
	if tooLarge := (&http.MaxBytesError{}); errors.As(err, &tooLarge) {
		return nil, false, fmt.Errorf("the body is larger than %d bytes", tooLarge.Limit)
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading the body: %w", err)
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil, false, errors.New(`the body is empty; send a flower such as {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}`)
	}
	if data[0] != '[' {
		f, err := flower(data)
		return []classifier.Flower{f}, true, err
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(data, &elements); err != nil {
		return nil, false, fmt.Errorf("the body is not JSON: %w", err)
	}
	if len(elements) == 0 || len(elements) > maxFlowers {
		return nil, false, fmt.Errorf("the list has %d flowers; send 1 to %d", len(elements), maxFlowers)
	}
	for i, element := range elements {
		f, err := flower(element)
		if err != nil {
			return nil, false, fmt.Errorf("flower %d: %w", i, err)
		}
		flowers = append(flowers, f)
	}
	return flowers, false, nil
}

func flower(data []byte) (classifier.Flower, error) {
	var f classifier.Flower
	var named map[string]any
	if err := json.Unmarshal(data, &named); err != nil || named == nil {
		return f, fmt.Errorf("a flower is a JSON object with %s", strings.Join(classifier.Features, ", "))
	}
	for name := range named {
		if !slices.Contains(classifier.Features, name) {
			return f, fmt.Errorf("%q is no measurement; a flower has %s", name, strings.Join(classifier.Features, ", "))
		}
	}
	for i, name := range classifier.Features {
		value, given := named[name]
		if !given {
			return f, fmt.Errorf("%s is missing", name)
		}
		x, isNumber := value.(float64)
		if !isNumber || x <= 0 || x > maxLength {
			return f, fmt.Errorf("%s must be a number of centimetres above 0 and up to %d, found %v", name, maxLength, value)
		}
		f.Measurements[i] = x
	}
	return f, nil
}
