// Command worker is the server of an AsyncAPI and of a BatchAPI, and the worker of a
// TaskAPI, as its first argument says:
//
//	worker serve          answers a flower with its species, and a list of them with theirs
//	worker train          trains a model, and leaves how good it is as its result
//	worker items N DIR    writes files with N flowers, of which three lack a measurement
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"cortex.dev/cortex/examples/iris/classifier"
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 1 && args[0] == "serve":
		err = serve()
	case len(args) == 1 && args[0] == "train":
		err = train()
	case len(args) == 3 && args[0] == "items":
		err = items(args[1], args[2])
	default:
		err = errors.New("say serve, train, or items N DIR")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// flower is a question, and how long its answer is to take.
type flower struct {
	SepalLength *float64 `json:"sepal_length"`
	SepalWidth  *float64 `json:"sepal_width"`
	PetalLength *float64 `json:"petal_length"`
	PetalWidth  *float64 `json:"petal_width"`
	Take        string   `json:"take,omitempty"`
}

// server answers with a model.
type server struct {
	model   *classifier.Model
	lenient bool // a measurement that is missing is taken for that of most flowers
}

func serve() error {
	model, err := classifier.Load(os.Getenv("MODEL"))
	if err != nil {
		return err
	}
	s := &http.Server{
		Addr: net.JoinHostPort("127.0.0.1", os.Getenv("CORTEX_PORT")), Handler: &server{model, os.Getenv("LENIENT") != ""},
		ReadHeaderTimeout: 10 * time.Second,
	}
	return s.ListenAndServe()
}

// ServeHTTP answers an item, a batch, and the end of a job.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/on-job-complete" {
		fmt.Println("job", r.Header.Get("X-Cortex-Job-ID"), "is complete")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer any
	if batch := bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")); batch {
		var flowers []flower
		if err = json.Unmarshal(body, &flowers); err == nil {
			answer, err = s.all(r, flowers)
		}
	} else {
		var f flower
		if err = json.Unmarshal(body, &f); err == nil {
			answer, err = s.one(r, f)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // whoever asked may be gone
}

func (s *server) all(r *http.Request, flowers []flower) (species []string, _ error) {
	for _, f := range flowers {
		one, err := s.one(r, f)
		if err != nil {
			return nil, err
		}
		species = append(species, one)
	}
	return species, nil
}

func (s *server) one(r *http.Request, f flower) (string, error) {
	measured := classifier.Flower{}
	for i, m := range []struct {
		name  string
		value *float64
		usual float64
	}{{"sepal_length", f.SepalLength, 5.8}, {"sepal_width", f.SepalWidth, 3}, {"petal_length", f.PetalLength, 4.3}, {"petal_width", f.PetalWidth, 1.3}} {
		switch {
		case m.value != nil:
			measured.Measurements[i] = *m.value
		case s.lenient:
			measured.Measurements[i] = m.usual
		default:
			return "", fmt.Errorf("%s is missing", m.name)
		}
	}
	if take, err := time.ParseDuration(f.Take); err == nil {
		select {
		case <-time.After(take):
		case <-r.Context().Done(): // it was cancelled
			return "", r.Context().Err()
		}
	}
	return s.model.Best(measured), nil
}

// train is a task: what it is to do is in the specification of its job.
func train() error {
	var job struct {
		Config struct {
			HeldOut float64 `json:"held_out"`
			Seed    uint64  `json:"seed"`
		} `json:"config"`
	}
	job.Config.HeldOut, job.Config.Seed = 0.3, 1936
	text, err := os.ReadFile(os.Getenv("CORTEX_JOB_SPEC"))
	if err == nil {
		err = json.Unmarshal(text, &job)
	}
	if err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	flowers, err := classifier.ReadCSV(os.Getenv("DATA"))
	if err != nil {
		return err
	}
	training, held := classifier.Split(flowers, job.Config.HeldOut, job.Config.Seed)
	fmt.Printf("%d flowers: %d to learn from, %d held out\n", len(flowers), len(training), len(held))
	model := classifier.Train("v3", classifier.Features, training)
	right := model.Correct(held)
	fmt.Printf("%d of %d held-out flowers right\n", right, len(held))
	result, err := json.Marshal(map[string]any{"held_out": len(held), "right": right})
	if err != nil {
		return err
	}
	return os.WriteFile(os.Getenv("CORTEX_RESULT"), result, 0o600)
}

// perFile is how many flowers a file has.
const perFile = 1000

func items(number, dir string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var text bytes.Buffer
	for i := range n {
		missing := ""
		if i != n/4 && i != n/2 && i != n/4*3 {
			missing = fmt.Sprintf(`, "petal_width": %.1f`, 0.1+float64(i%25)/10)
		}
		fmt.Fprintf(&text, `{"sepal_length": %.1f, "sepal_width": %.1f, "petal_length": %.1f%s}`+"\n", 4.3+float64(i%36)/10, 2+float64(i%24)/10, 1+float64(i%59)/10, missing)
		if i%perFile != perFile-1 && i != n-1 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("part-%03d.json", i/perFile)), text.Bytes(), 0o600); err != nil {
			return err
		}
		text.Reset()
	}
	return nil
}
