package tracing

// Settings says where traces of requests are sent, and how many are recorded.
type Settings struct {
	Endpoint string  // of a collector, OTLP over HTTP; empty: none are recorded
	Ratio    float64 // of the traces that begin here, 0 to 1
}

// Problems returns everything that is wrong with s, in words of the flags.
func (s Settings) Problems() []string {
	var problems []string
	if err := CheckEndpoint(s.Endpoint); err != nil {
		problems = append(problems, "--trace-endpoint: "+err.Error())
	}
	if err := CheckRatio(s.Ratio); err != nil {
		problems = append(problems, "--trace-ratio: "+err.Error())
	}
	return problems
}
