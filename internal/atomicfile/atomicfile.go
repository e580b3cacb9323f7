// Package atomicfile writes small files of the user's that others read at the same
// time: settings, keys.
//
// It promises that readers see the old content or the new one and never a part, also
// when this process dies in between, that what was written without an error is there
// after a power cut, and mode 0600. It must not know formats.
package atomicfile

import (
	"os"
	"path/filepath"
)

// Replace makes data the whole content of the file at path, or leaves it as it is. Only
// when the last step fails is the new content there and may go with the power.
func Replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = SyncFolder(filepath.Dir(path))
	}
	return err
}

// SyncFolder writes the entries of a folder to the disk. A rename changes the folder and
// not the file: without this a power cut brings the old content back.
func SyncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
