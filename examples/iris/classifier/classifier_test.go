package classifier

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func data(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join("..", name)
}

// The files in the repository are what the trainer makes of the data: nobody
// edited a weight, and the accuracy is that of rows outside the training.
func TestModelsComeFromTheData(t *testing.T) {
	t.Parallel()
	flowers, err := ReadCSV(data(t, "iris.csv"))
	if err != nil {
		t.Fatal(err)
	}
	training, held := Split(flowers, 0.3, 1936)
	written, err := ReadCSV(data(t, "held-out.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(held, written); diff != "" {
		t.Errorf("held-out.csv is not what Split holds back (-split +file):\n%s", diff)
	}
	for version, features := range map[string][]string{"v1": Features[:2], "v2": Features} {
		got := Train(version, features, training)
		got.Held = Held{Rows: len(held), Correct: got.Correct(held)}
		want, err := Load(data(t, "model-"+version+".json"))
		if err != nil {
			t.Fatal(err)
		}
		// The last digit may differ between floating-point units.
		if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-4)); diff != "" {
			t.Errorf("Train(%s) differs from model-%s.json; run go run ./examples/iris/train (-file +trained):\n%s", version, version, diff)
		}
	}
}

func TestSplitKeepsEveryRowOnceAndTheMix(t *testing.T) {
	t.Parallel()
	flowers, err := ReadCSV(data(t, "iris.csv"))
	if err != nil {
		t.Fatal(err)
	}
	training, held := Split(flowers, 0.3, 1)
	count := map[string]int{}
	for _, f := range held {
		count[f.Species]++
	}
	if diff := cmp.Diff(map[string]int{"setosa": 15, "versicolor": 15, "virginica": 15}, count); diff != "" {
		t.Errorf("held out by species (-want +got):\n%s", diff)
	}
	rows := map[Flower]int{}
	for _, f := range flowers {
		rows[f]++
	}
	for _, f := range append(training, held...) {
		rows[f]--
	}
	for f, n := range rows {
		if n != 0 {
			t.Errorf("flower %v is %d times more in the data than in the split", f, n)
		}
	}
}

func TestProbabilitiesSumToOneForAnyMeasurements(t *testing.T) {
	t.Parallel()
	m, err := Load(data(t, "model-v2.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []Flower{{}, {Measurements: [4]float64{100, 100, 100, 100}}, {Measurements: [4]float64{5.1, 3.5, 1.4, 0.2}}} {
		sum := 0.0
		for _, p := range m.Predict(f) {
			sum += p
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("Predict(%v) sums to %v, want 1", f, sum)
		}
	}
}

func TestLoadRefusesAModelThatDoesNotFitTogether(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ text, want string }{
		"not JSON":        {`{`, "reading the model"},
		"empty":           {`{}`, "no features"},
		"a mean too few":  {`{"features":["petal_width"],"species":["a"],"scale":[1],"weights":[[1]],"bias":[0]}`, "0 means"},
		"no bias":         {`{"features":["petal_width"],"species":["a"],"mean":[1],"scale":[1],"weights":[[1]]}`, "0 biases"},
		"unknown feature": {`{"features":["colour"],"species":["a"],"mean":[1],"scale":[1],"weights":[[1]],"bias":[0]}`, `"colour"`},
		"short row":       {`{"features":["petal_width"],"species":["a"],"mean":[1],"scale":[1],"weights":[[]],"bias":[0]}`, "row 0"},
		"zero scale":      {`{"features":["petal_width"],"species":["a"],"mean":[1],"scale":[0],"weights":[[1]],"bias":[0]}`, "scale 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "model.json")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(path); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load(%s) = %v, want an error with %q", tt.text, err, tt.want)
			}
		})
	}
}

func TestReadCSVNamesTheLineOfABadNumber(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "flowers.csv")
	if err := os.WriteFile(path, []byte("a,b,c,d,species\n1,2,3,4,setosa\n1,2,x,4,setosa\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCSV(path); err == nil || !strings.Contains(err.Error(), "flowers.csv:3: petal_length") {
		t.Errorf("ReadCSV = %v, want an error that names line 3 and petal_length", err)
	}
}
