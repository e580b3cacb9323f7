// Package deploy holds what runs Cortex elsewhere than on one machine, as files: the
// Helm chart, embedded in the program that installs it.
//
// It promises that Chart is the folder deploy/chart of the same build. It must not
// hold code that renders or installs it: internal/install does.
package deploy

import (
	"embed"
	"io/fs"
)

//go:embed all:chart
var files embed.FS

// Chart returns the files of the Helm chart, Chart.yaml at the root.
func Chart() fs.FS {
	chart, err := fs.Sub(files, "chart")
	if err != nil {
		panic(err) // the name is valid
	}
	return chart
}
