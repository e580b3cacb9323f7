package classifier

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Split shuffles flowers with a fixed seed and holds back the given share of
// every species, so that training and judging see the same mix.
func Split(flowers []Flower, share float64, seed uint64) (training, held []Flower) {
	bySpecies := map[string][]Flower{}
	for _, f := range flowers {
		bySpecies[f.Species] = append(bySpecies[f.Species], f)
	}
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a repeatable split, not a secret
	for _, species := range speciesOf(flowers) {
		rows := bySpecies[species]
		random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		n := int(math.Round(share * float64(len(rows))))
		held = append(held, rows[:n]...)
		training = append(training, rows[n:]...)
	}
	return training, held
}

func speciesOf(flowers []Flower) []string {
	var names []string
	for _, f := range flowers {
		if !slices.Contains(names, f.Species) {
			names = append(names, f.Species)
		}
	}
	slices.Sort(names)
	return names
}

// Train fits a multinomial logistic regression on the named features by gradient
// descent over all rows, with a little weight decay. It draws no random numbers;
// its numbers are rounded so that machines with other floating-point units write
// the same file.
func Train(version string, features []string, flowers []Flower) *Model {
	const steps, rate, decay = 3000, 0.5, 1e-3
	m := standardised(version, features, flowers)
	n := float64(len(flowers))
	for range steps {
		gradW, gradB := make([][]float64, len(m.Species)), make([]float64, len(m.Species))
		for i := range gradW {
			gradW[i] = make([]float64, len(features))
		}
		for _, f := range flowers {
			for i, p := range m.Predict(f) {
				if m.Species[i] == f.Species {
					p--
				}
				gradB[i] += p / n
				for j, name := range features {
					gradW[i][j] += p / n * (f.Measurements[slices.Index(Features, name)] - m.Mean[j]) / m.Scale[j]
				}
			}
		}
		for i := range m.Weights {
			m.Bias[i] -= rate * gradB[i]
			for j := range features {
				m.Weights[i][j] -= rate * (gradW[i][j] + decay*m.Weights[i][j])
			}
		}
	}
	m.round()
	return m
}

// standardised returns a model without opinion, which knows the mean and the
// spread of every feature.
func standardised(version string, features []string, flowers []Flower) *Model {
	m := &Model{Version: version, Features: features, Species: speciesOf(flowers)}
	n := float64(len(flowers))
	for _, name := range features {
		k, mean, square := slices.Index(Features, name), 0.0, 0.0
		for _, f := range flowers {
			mean += f.Measurements[k] / n
		}
		for _, f := range flowers {
			square += (f.Measurements[k] - mean) * (f.Measurements[k] - mean) / n
		}
		m.Mean, m.Scale = append(m.Mean, mean), append(m.Scale, math.Sqrt(square))
	}
	m.Bias = make([]float64, len(m.Species))
	for range m.Species {
		m.Weights = append(m.Weights, make([]float64, len(features)))
	}
	return m
}

func (m *Model) round() {
	for _, numbers := range append([][]float64{m.Mean, m.Scale, m.Bias}, m.Weights...) {
		for i, x := range numbers {
			numbers[i] = math.Round(x*1e5) / 1e5
		}
	}
}
