package localenv

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// maxSocketPath is how long a socket's path may be: the kernel's limit is 104
// bytes on darwin and 108 on Linux, with the final zero.
const maxSocketPath = 100

// Files are the places of the local environment.
type Files struct {
	StateDir string // everything that survives a restart
	Socket   string // of the management API
	Log      string // of a daemon in the background
}

// Paths returns where the local environment of a configuration folder lives. The socket is in the state folder unless its path is too long for the
// kernel; then it is in a folder of this user below the one for temporary files.
// It creates nothing.
func Paths(configDir string) Files {
	return PathsIn(configDir, os.TempDir(), os.Getuid())
}

// PathsIn is Paths for a process of uid whose folder for temporary files is tempDir.
func PathsIn(configDir, tempDir string, uid int) Files {
	state := filepath.Join(configDir, "local")
	files := Files{
		StateDir: state,
		Socket:   filepath.Join(state, "cortex.sock"),
		Log:      filepath.Join(state, "daemon.log"),
	}
	if len(files.Socket) > maxSocketPath {
		sum := sha256.Sum256([]byte(configDir))
		files.Socket = filepath.Join(tempDir, fmt.Sprintf("cortex-%d", uid), hex.EncodeToString(sum[:])[:16]+".sock")
	}
	return files
}
