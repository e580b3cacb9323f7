package iam

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"cortex.dev/cortex/internal/auth"
)

// A nonce needs no memory: who made it, and when, is in it, under a MAC.
//
//	byte 0        1, the version of this layout
//	bytes 1–4     epoch of the key
//	bytes 5–12    Unix milliseconds
//	bytes 13–28   random
//	bytes 29–44   HMAC-SHA256 of the bytes before and the cluster's id, cut to 128 bits
//
// 45 bytes are 60 characters of base64 without a spare bit: there is no second
// spelling of a nonce that would look unused.
const (
	nonceBytes  = 45
	nonceMAC    = 29
	nonceLength = 60

	nonceLife = time.Minute
	nonceSkew = 5 * time.Second // between the clocks of replicas
	// A used nonce is remembered until it would be too old for every replica, and
	// until the date that was signed with it is too: a clock that is set back makes
	// nonces young again, and what was signed stays good at STS for longer.
	claimLife = auth.MaxProofAge + auth.MaxProofSkew + nonceLife + 4*nonceSkew
)

var (
	nonceShape    = auth.NewShape(`^[A-Za-z0-9_-]+$`, nonceLength, nonceLength)
	nonceEncoding = base64.RawURLEncoding.Strict()
)

func newNonce(k key, clusterID string, now time.Time) string {
	var b [nonceBytes]byte
	b[0] = 1
	binary.BigEndian.PutUint32(b[1:], k.epoch)
	binary.BigEndian.PutUint64(b[5:], uint64(now.UnixMilli()))
	_, _ = rand.Read(b[13:nonceMAC]) // never fails: it crashes the program instead
	copy(b[nonceMAC:], k.nonceMAC(b[:nonceMAC], clusterID))
	return nonceEncoding.EncodeToString(b[:])
}

// readNonce returns the epoch of the key that made a nonce and its bytes.
func readNonce(nonce string) (epoch uint32, b []byte, ok bool) {
	b, err := nonceEncoding.DecodeString(nonce)
	if err != nil || len(b) != nonceBytes || b[0] != 1 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(b[1:]), b, true
}

// nonceFits reports whether the bytes of a nonce are this key's, and young.
func nonceFits(b []byte, k key, clusterID string, now time.Time) bool {
	if !hmac.Equal(k.nonceMAC(b[:nonceMAC], clusterID), b[nonceMAC:]) {
		return false
	}
	age := now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(b[5:]))))
	return age >= -nonceSkew && age <= nonceLife
}

func (k key) nonceMAC(data []byte, clusterID string) []byte {
	h := hmac.New(sha256.New, k.forNonces[:])
	_, _ = h.Write(data)
	_, _ = h.Write([]byte(clusterID))
	return h.Sum(nil)[:nonceBytes-nonceMAC]
}
