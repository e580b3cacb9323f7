package workload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Bounds of what a container says of how far it is, in bytes.
const (
	MaxProgress        = 4 << 10
	MaxProgressMessage = 1 << 10
)

// ParseProgress reads what a container says of how far it is: {"percent": 40, "message": "…"}, or text.
func ParseProgress(body []byte) (*ItemProgress, error) {
	body = bytes.TrimSpace(body)
	var said ItemProgress
	switch {
	case len(body) > MaxProgress:
		return nil, fmt.Errorf("it has more than %d bytes", MaxProgress)
	case len(body) == 0:
		return nil, errors.New("it is empty")
	case body[0] == '{':
		var as struct {
			Percent *float64 `json:"percent"`
			Message string   `json:"message"`
		}
		if err := json.Unmarshal(body, &as); err != nil {
			return nil, err
		}
		said.Percent, said.Message = as.Percent, as.Message
	default:
		said.Message = string(body)
	}
	if p := said.Percent; p != nil && (math.IsNaN(*p) || *p < 0 || *p > 100) {
		return nil, errors.New("percent is a number from 0 to 100")
	}
	if said.Percent == nil && said.Message == "" {
		return nil, errors.New("it has neither percent nor message")
	}
	said.Message = strings.ToValidUTF8(said.Message, "\ufffd")
	if len(said.Message) > MaxProgressMessage {
		said.Message = strings.ToValidUTF8(said.Message[:MaxProgressMessage], "") // without half a letter at its end
	}
	return &said, nil
}
