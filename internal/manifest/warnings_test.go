package manifest

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is legal in a command and does not do what it looks like is said, and nothing else.
func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, container string
		want            []string
	}{
		{"one word", `command: ["python3 srv.py x"]`, []string{`6:17 iris (RealtimeAPI): pod.containers[0].command[0]: the whole text is the name of the program: no shell takes it apart (write each word by itself: command: ["python3", "srv.py", "x"])`}},
		{"one word with arguments", `{command: [my server], args: [x]}`, nil},
		{"a shell's reference", `command: [./server, --port, $CORTEX_PORT]`, []string{`6:35 iris (RealtimeAPI): pod.containers[0].command[2]: $CORTEX_PORT stays as it stands: no shell reads it (write $(CORTEX_PORT))`}},
		{"a shell's other reference", `{command: [./server], args: ["-p${A}"], env: {A: b}}`, []string{`6:47 iris (RealtimeAPI): pod.containers[0].args[0]: ${A} stays as it stands: no shell reads it (write $(A))`}},
		{"in a shell", `command: [/bin/sh, -c, "exec ./server --port $CORTEX_PORT"]`, nil},
		{"an expression", `command: [./server, --match, "^$name$"]`, nil},
		{"misspelt", `command: [./server, $(CORTEX_PROT)]`, []string{`6:27 iris (RealtimeAPI): pod.containers[0].command[1]: $(CORTEX_PROT) stays as it stands: the container has no such variable (did you mean "CORTEX_PORT"?)`}},
		{"known", `{command: [./server, $(CORTEX_PORT), $(A), $(AWS_REGION), $(CORTEX_API_ENDPOINT), "$$(NOT)"], env: {A: b}}`, nil},
		{"a command of a shell", `command: [sh, -c, "echo $(date)"]`, nil},
		{"misspelt in a shell", `command: [sh, -c, "./server $(CORTEX_PROT)"]`, []string{`6:25 iris (RealtimeAPI): pod.containers[0].command[2]: $(CORTEX_PROT) stays as it stands: the container has no such variable (did you mean "CORTEX_PORT"?)`}},
		{"where a volume is not", `{command: [./server, --models, /models/llama, "--cache=/models", /models2, ./models], env: {DIR: /models}, volume_mounts: [{name: models, mount_path: /models}]}`, []string{
			`6:49 iris (RealtimeAPI): pod.containers[0].command[2]: a container without an image has nothing at /models: it finds the volume models elsewhere (write $(CORTEX_VOLUME_MODELS)/llama)`,
			`6:64 iris (RealtimeAPI): pod.containers[0].command[3]: a container without an image has nothing at /models: it finds the volume models elsewhere (write --cache=$(CORTEX_VOLUME_MODELS))`,
			`6:115 iris (RealtimeAPI): pod.containers[0].env.DIR: a container without an image has nothing at /models: it finds the volume models elsewhere (write $(CORTEX_VOLUME_MODELS))`,
		}},
		{"where it is", `{command: [./server, $(CORTEX_VOLUME_MODELS)/llama], volume_mounts: [{name: models, mount_path: /models}]}`, nil},
		{"where it is in an image", `{image: iris, command: [./server, /models/llama], volume_mounts: [{name: models, mount_path: /models}]}`, nil},
		{"not a name", `command: [sh, -c, "echo $(ls -l)"]`, nil},
	} {
		text := "- name: iris\n  kind: RealtimeAPI\n  pod:\n    containers:\n    - name: api\n      "
		if tt.container[0] == '{' {
			text = "- name: iris\n  kind: RealtimeAPI\n  pod:\n    containers:\n    -\n      {name: api, " + tt.container[1:]
		} else {
			text += tt.container
		}
		text += "\n    volumes: [{name: models, empty_dir: {}}]\n"
		file, err := Parse("", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var got []string
		for _, w := range file.Warnings {
			got = append(got, fmt.Sprintf("%d:%d %s", w.Line, w.Column, w))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: Parse().Warnings differ (-want +got):\n%s", tt.name, diff)
		}
	}
}
