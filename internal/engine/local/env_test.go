package local

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/workload"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	env := map[string]string{"MODEL": "iris", "EMPTY": "", "NESTED": "$(MODEL)"}
	for text, want := range map[string]string{
		"":                   "",
		"plain":              "plain",
		"$(MODEL)":           "iris",
		"a$(MODEL)b$(MODEL)": "airisbiris",
		"$$(MODEL)":          "$(MODEL)",
		"$$$(MODEL)":         "$iris",
		"$(NOBODY)":          "$(NOBODY)",
		"[$(EMPTY)]":         "[]",
		"$(NESTED)":          "$(MODEL)", // once
		"$MODEL ${MODEL}":    "$MODEL ${MODEL}",
		"$(MODEL":            "$(MODEL",
		"cost: 5$":           "cost: 5$",
		"$()":                "$()",
		"$(MO$(MODEL)":       "$(MO$(MODEL)",
		"$$":                 "$",
	} {
		if got := expand(text, env); got != want {
			t.Errorf("expand(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"$(A)", "$$(A)", "$(", "$", "$$$(A)$(B)", "x$(A)y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := expand(text, map[string]string{"A": "1"})
		if !strings.Contains(text, "$") && got != text {
			t.Errorf("expand(%q) = %q, want it unchanged", text, got)
		}
		if len(got) > len(text) {
			t.Errorf("expand(%q) = %q, longer than its input", text, got)
		}
	})
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	cfg := Config{Version: "1.2.3", Env: map[string]string{"AWS_REGION": "eu-west-1", "AWS_PROFILE": "x"}, APIEndpoint: "http://localhost:8888", APIEndpointInDocker: "http://host:8888"}
	folder := func(name string) string { return "/state/" + name }
	user := map[string]workload.Variable{
		"AWS_PROFILE": {Value: "mine"}, "A": {Value: "$(CORTEX_PORT)"}, "B": {Value: "$(A)$(Z)"}, "Z": {Value: "z"}, "CORTEX_PORT": {Value: "1"},
		"TOKEN": {Secret: "hf"}, "AUTH": {Value: "Bearer $(TOKEN)"},
	}
	secrets := map[string]string{"hf": "$(A)$$"}
	process := environment(cfg, &workload.Container{Env: user}, 20001, folder, map[string]string{"hf-cache": "/state/volumes/models"}, secrets)
	want := map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_PROFILE": "mine", "A": "20001", "B": "20001$(Z)", "Z": "z",
		"CORTEX_VERSION": "1.2.3", "CORTEX_LOG_LEVEL": "INFO", "CORTEX_PORT": "20001",
		"CORTEX_CLI_CONFIG_DIR": "/state/client", "CORTEX_MNT": "/state/mnt",
		"CORTEX_API_ENDPOINT": "http://localhost:8888", "CORTEX_VOLUME_HF_CACHE": "/state/volumes/models",
		"TOKEN": "$(A)$$", "AUTH": "Bearer $(A)$$",
	}
	if diff := cmp.Diff(want, process); diff != "" {
		t.Errorf("the environment of a process differs (-want +got):\n%s", diff)
	}
	image := environment(cfg, &workload.Container{Image: "i"}, 0, folder, nil, nil)
	want = map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_PROFILE": "x", "CORTEX_VERSION": "1.2.3", "CORTEX_LOG_LEVEL": "INFO", "CORTEX_CLI_CONFIG_DIR": "/cortex/client",
		"CORTEX_API_ENDPOINT": "http://host:8888",
	}
	if diff := cmp.Diff(want, image); diff != "" {
		t.Errorf("the environment of an image without a port differs (-want +got):\n%s", diff)
	}
}
