// Package sealed makes and reads tokens that say something and that only holders of a secret
// can make: VERSION.EPOCH.CLAIMS.MAC. No header names an algorithm, so there is none to
// confuse: it is HMAC-SHA256 with the secret of that epoch, over everything before the last
// dot.
//
// It promises that a token has one spelling, and that nothing of one is read before its MAC.
//
// It must not know what tokens say, nor who has the secrets.
package sealed

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
)

// Secret is what tokens of one epoch are made and verified with.
type Secret = [32]byte

const maxBytes = 4096 // of a token

var encoding = base64.RawURLEncoding.Strict()

// Make makes a token of what it says.
func Make(version string, epoch uint32, secret *Secret, says any) (string, error) {
	data, err := json.Marshal(says)
	if err != nil {
		return "", err
	}
	signed := version + "." + strconv.FormatUint(uint64(epoch), 10) + "." + encoding.EncodeToString(data)
	return signed + "." + encoding.EncodeToString(macOf(secret, signed)), nil
}

// Read reads into says what a token of a version says; false: it was not made with what
// secret returns for its epoch.
func Read(version, token string, secret func(epoch uint32) (*Secret, bool), says any) bool {
	if len(token) > maxBytes {
		return false
	}
	parts := strings.Split(token, ".")
	if len(parts) != 4 || parts[0] != version {
		return false
	}
	epoch, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil || strconv.FormatUint(epoch, 10) != parts[1] {
		return false
	}
	with, ok := secret(uint32(epoch))
	if !ok {
		return false
	}
	// As text: a decoder leaves out line breaks, and a token has one spelling.
	mac := encoding.EncodeToString(macOf(with, token[:strings.LastIndexByte(token, '.')]))
	if !hmac.Equal([]byte(parts[3]), []byte(mac)) {
		return false
	}
	// From here on the bytes are our own.
	data, err := encoding.DecodeString(parts[2])
	return err == nil && json.Unmarshal(data, says) == nil
}

func macOf(secret *Secret, signed string) []byte {
	h := hmac.New(sha256.New, secret[:])
	_, _ = h.Write([]byte(signed))
	return h.Sum(nil)
}
