package main

import (
	"os"
	"path/filepath"
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
			s := newSummary(&out, "")
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
	if code := run(t.Context(), "", []string{"./there-is-no-such-package"}, &out, &errs); code == 0 {
		t.Errorf("run on a missing package = 0 with %q, want a failure", out.String())
	}
}

// module writes a module with one package and returns its folder.
func module(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module m\n\ngo 1.24\n", "a_test.go": "package m\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n" + text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestAgain has a module whose tests fail as long as a file is not there.
func TestAgain(t *testing.T) {
	t.Parallel()
	const once = `func TestOnce(t *testing.T) {
	t.Run("part one", func(t *testing.T) {
		if _, err := os.Stat("there"); err != nil {
			_ = os.WriteFile("there", nil, 0o600)
			t.Error("not yet")
		}
	})
	t.Run("part two", func(t *testing.T) {})
}
`
	for name, tt := range map[string]struct {
		text  string
		again bool
		code  int
		want  []string
	}{
		"it passes the second time": {once, true, 0, []string{
			"not yet", "FLAKY\tm\tTestOnce/part_one: it failed, and passed when it ran again, alone\n", "tests: 3 passed, 0 failed, 0 skipped; packages: 1 ok, 0 failed; 1 flaky\n",
		}},
		"nobody asked for that":              {once, false, 1, []string{"tests: 1 passed, 2 failed, 0 skipped; packages: 0 ok, 1 failed\n"}},
		"another fails both times":           {once + "func TestNever(t *testing.T) { _ = os.Args; t.Error(`never`) }\n", true, 1, []string{"FLAKY\tm\tTestOnce/part_one", "tests: 1 passed, 3 failed"}},
		"it ends in a panic":                 {"func TestPanic(*testing.T) {\n\tif _, err := os.Stat(`there`); err != nil {\n\t\t_ = os.WriteFile(`there`, nil, 0o600)\n\t\tpanic(1)\n\t}\n}\n", true, 1, []string{"1 failed"}},
		"it has a data race":                 {strings.Replace(once, `t.Error(`, `_, _ = os.Stdout.WriteString("WARNING: DATA RACE\n"); t.Error(`, 1), true, 1, []string{"1 passed, 2 failed"}},
		"it does not build":                  {"func TestX(t *testing.T) { _ = os.Nothing }\n", true, 1, []string{"build failed"}},
		"a test outside of tests (TestMain)": {"func TestMain(*testing.M) { os.Exit(3) }\n", true, 1, []string{"0 failed, 0 skipped; packages: 0 ok, 1 failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"./..."}
			if tt.again {
				args = append([]string{"-again"}, args...)
			}
			var out strings.Builder
			if code := run(t.Context(), module(t, tt.text), args, &out, &out); code != tt.code {
				t.Errorf("run() = %d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it says\n%s\nwant %q", out.String(), want)
				}
			}
		})
	}
}
