package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		events string
		want   string
	}{
		"the lines of passing tests are dropped": {
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}`,
			"ok  \tp\t0.1s\ntests: 1 passed, 0 failed, 0 skipped; packages: 1 ok, 0 failed\n",
		},
		"those of a failing one are kept": {
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: F() = 4, want 3\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}`,
			"    a_test.go:7: F() = 4, want 3\nFAIL\tp\t0.1s\ntests: 0 passed, 1 failed, 0 skipped; packages: 0 ok, 1 failed\n",
		},
		"a skipped one says why": {
			`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: no Docker here\n"}
{"Action":"skip","Package":"p","Test":"TestA"}`,
			"SKIP\tp\tTestA: no Docker here\ntests: 0 passed, 0 failed, 1 skipped; packages: 0 ok, 0 failed\n",
		},
		"what does not compile is shown": {
			`{"Action":"build-output","ImportPath":"p","Output":"a.go:1:1: undefined: x\n"}
{"Action":"build-fail","ImportPath":"p"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p"}`,
			"a.go:1:1: undefined: x\nFAIL\tp [build failed]\ntests: 0 passed, 0 failed, 0 skipped; packages: 0 ok, 1 failed\n",
		},
		"text that is no event is passed on": {"go: cannot find main module", "go: cannot find main moduletests: 0 passed, 0 failed, 0 skipped; packages: 0 ok, 0 failed\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			s := newSummary(&out)
			s.read(strings.NewReader(tt.events))
			s.close()
			if out.String() != tt.want {
				t.Errorf("summary = %q\nwant      %q", out.String(), tt.want)
			}
		})
	}
}

func TestExitCodeIsThatOfGoTest(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"./there-is-no-such-package"}, &out, &errs); code == 0 {
		t.Errorf("run on a missing package = 0 with %q, want a failure", out.String())
	}
}
