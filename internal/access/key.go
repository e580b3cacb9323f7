package access

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
)

// The text of a key: cxk_<id>_<secret>_<check>, each part in base 62. The check tells a key
// from a typing error, and from what only looks like one, without a look-up: scanners of
// source code use it so.
const (
	prefix    = "cxk_"
	idLen     = 8
	secretLen = 32 // 190 bits
	checkLen  = 6
	keyLen    = len(prefix) + idLen + 1 + secretLen + 1 + checkLen

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ID is what of a key may be shown.
type ID [idLen]byte

// ParseID reads the id of a key.
func ParseID(text string) (id ID, ok bool) {
	if len(text) != idLen {
		return id, false
	}
	for i := range text {
		if !isBase62(text[i]) {
			return id, false
		}
	}
	return ID([]byte(text)), true
}

// Mint makes a key. Its text is for its holder alone; id and hash are what is kept.
func Mint() (text, id string, hash [sha256.Size]byte) {
	b := make([]byte, 0, keyLen)
	b = appendRandom(append(b, prefix...), idLen)
	b = appendRandom(append(b, '_'), secretLen)
	id = string(b[len(prefix):][:idLen])
	hash = sha256.Sum256(b[len(b)-secretLen:])
	check := checkOf(b)
	return string(append(append(b, '_'), check[:]...)), id, hash
}

// appendRandom appends n digits of base 62, each as likely as any other.
func appendRandom(b []byte, n int) []byte {
	var random [64]byte
	for n > 0 {
		_, _ = rand.Read(random[:]) // never fails
		for _, r := range random {
			if r < 4*62 && n > 0 { // the rest would make the first digits more likely
				b = append(b, base62[r%62])
				n--
			}
		}
	}
	return b
}

// checkOf is what ends a key whose other parts are b.
func checkOf(b []byte) (digits [checkLen]byte) {
	sum := crc32.ChecksumIEEE(b)
	for i := range digits {
		digits[checkLen-1-i] = base62[sum%62]
		sum /= 62
	}
	return digits
}

// parse takes a key apart. It fails on what Mint cannot have made, but for its randomness.
func parse(text []byte) (id ID, secret []byte, ok bool) {
	if len(text) != keyLen || string(text[:len(prefix)]) != prefix {
		return id, nil, false
	}
	for i, c := range text[len(prefix):] {
		i += len(prefix)
		if i == len(prefix)+idLen || i == keyLen-1-checkLen {
			if c != '_' {
				return id, nil, false
			}
		} else if !isBase62(c) {
			return id, nil, false
		}
	}
	if checkOf(text[:keyLen-1-checkLen]) != [checkLen]byte(text[keyLen-checkLen:]) {
		return id, nil, false
	}
	return ID(text[len(prefix):]), text[len(prefix)+idLen+1:][:secretLen], true
}

func isBase62(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
