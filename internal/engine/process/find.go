package process

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/workload"
)

func startError(code string, err error, message, fix string) *local.StartError {
	return &local.StartError{Reason: workload.Reason{Code: code, Message: message, Fix: fix}, Final: true, Err: err}
}

// checkDirectory makes sure that a process can run in dir.
func checkDirectory(dir string) error {
	const fix = "deploy again from the folder in which the file is now; if it is there and its copy is gone: cortex refresh NAME"
	info, err := os.Stat(dir)
	switch {
	case dir == "":
		return startError("bad_working_directory", nil, "the folder in which the process is to run is not known", fix)
	case err != nil:
		return startError("bad_working_directory", err, fmt.Sprintf("the folder in which the process is to run cannot be used: %v", err), fix)
	case !info.IsDir():
		return startError("bad_working_directory", nil, dir+" is not a folder, so no process can run in it", fix)
	}
	// Afterwards the system's refusal would look like one of the executable.
	if err := unix.Access(dir, unix.X_OK); err != nil {
		return startError("bad_working_directory", err, fmt.Sprintf("the folder in which the process is to run, %s, may not be entered: %v", dir, err),
			"let this user enter it: chmod u+x "+dir)
	}
	return nil
}

// findExecutable returns the file that name stands for: relative to dir when it
// contains a slash, otherwise looked for in the folders of path.
func findExecutable(name, dir, path string) (string, error) {
	if name == "" {
		return "", startError("missing_executable", nil, "the command is empty", "name a program in command")
	}
	if strings.ContainsRune(name, filepath.Separator) {
		full := name
		if !filepath.IsAbs(full) {
			full = filepath.Join(dir, name)
		}
		return full, checkExecutable(full, name)
	}
	var found error
	for _, folder := range filepath.SplitList(path) {
		if folder == "" {
			continue // an empty element means the current folder, which is nobody's intent
		}
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(dir, folder)
		}
		full := filepath.Join(folder, name)
		err := checkExecutable(full, name)
		if err == nil {
			return full, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && found == nil {
			found = err
		}
	}
	if found != nil {
		return "", found
	}
	fix := orInWords(name, "install "+name+", or give its path in command")
	if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
		fix = fmt.Sprintf("write ./%s in command: there is one in the folder of the file", name)
	}
	e := startError("missing_executable", fs.ErrNotExist, fmt.Sprintf("%s is not in any folder of PATH", name), fix)
	e.Reason.Evidence = []workload.Evidence{{Kind: "engine", Text: "PATH=" + path}}
	return "", e
}

func checkExecutable(full, name string) error {
	info, err := os.Stat(full)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return startError("missing_executable", err, fmt.Sprintf("%s does not exist", full), orInWords(name, "build "+name+" first, or correct command"))
	case err != nil:
		return startError("not_executable", err, fmt.Sprintf("%s cannot be run: %v", full, err), "let this user read it")
	case info.IsDir():
		return startError("not_executable", nil, full+" is a folder, not a program", "name a program in command")
	case info.Mode()&0o111 == 0:
		return startError("not_executable", fs.ErrPermission, full+" is not marked as executable", "chmod +x "+full)
	case info.Mode().IsRegular() && hasReturn(full):
		return startError("not_executable", nil, "the first line of "+full+" ends with a carriage return (CRLF), which would belong to the name of its interpreter",
			`save it with the line ends of Unix: sed -i 's/\r$//' `+name)
	}
	return nil
}

// orInWords is fix, or how a command is written that stands in one word.
func orInWords(name, fix string) string {
	if words := strings.Fields(name); len(words) > 1 {
		return fmt.Sprintf(`write each word of the command by itself: command: ["%s"]`, strings.Join(words, `", "`))
	}
	return fix
}

// hasReturn reports whether a file is a script whose first line ends as on Windows.
func hasReturn(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false // the system says it better
	}
	defer f.Close()
	head := make([]byte, 256) // the kernel looks no further
	n, _ := io.ReadFull(f, head)
	line, _, whole := strings.Cut(string(head[:n]), "\n")
	return whole && strings.HasPrefix(line, "#!") && strings.HasSuffix(line, "\r")
}

// cannotStart explains why the system refused to start a file that is there.
func cannotStart(path, name string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOENT):
		return startError("missing_executable", err, fmt.Sprintf("%s exists, but the interpreter in its first line does not", path), "correct the first line (#!…) of "+name)
	case errors.Is(err, syscall.ENOEXEC):
		return startError("not_executable", err, fmt.Sprintf("%s is not a program of this machine: %v", path, err), "build it for this machine; a script needs a first line such as #!/bin/sh")
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return startError("not_executable", err, fmt.Sprintf("%s may not be run: %v", path, err), "look at the permissions of the file and at how its file system is mounted")
	}
	e := startError("start_failed", err, fmt.Sprintf("%s could not be started: %v", path, err), "")
	e.Final = false
	return e
}
