package login

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// key is the name of a session: the hex SHA-256 of lines that say for whom and
// with which credentials it was made. Other credentials have another key, so that
// nobody ever works under an identity that they have just switched away from.
func (l *Login) key() string {
	lines := append([]string{"cortex-session-1", l.endpoint, l.clusterID}, l.credentials.Inputs()...)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}
