package h2

import (
	"encoding/binary"
	"fmt"
)

// Preface is what a client says first; then come frames.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Types of frames (RFC 9113, section 6).
const (
	frameData = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePush
	framePing
	frameGoAway
	frameWindow
	frameContinuation
)

const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	headerSize = 9
	maxFrame   = 16 << 10 // bytes of a frame's payload: what nobody may refuse
	maxID      = 1<<31 - 1
	maxWindow  = 1<<31 - 1
	firstWin   = 1<<16 - 1 // of whoever has said nothing else
)

// Settings (RFC 9113, section 6.5.2).
const (
	settingTable   = 1
	settingPush    = 2
	settingStreams = 3
	settingWindow  = 4
	settingFrame   = 5
	settingList    = 6
)

// Code says why a stream or a connection ended (RFC 9113, section 7).
type Code uint32

// The codes that are used here.
const (
	NoError         Code = 0
	ProtocolError   Code = 1
	InternalError   Code = 2
	FlowControl     Code = 3
	StreamClosed    Code = 5
	FrameSize       Code = 6
	RefusedStream   Code = 7
	Cancel          Code = 8
	Compression     Code = 9
	EnhanceYourCalm Code = 11
)

// Error is what a peer did wrong, so that its connection ended.
type Error struct {
	Code Code
	Why  string
}

func (e *Error) Error() string { return fmt.Sprintf("HTTP/2: %s (%d)", e.Why, e.Code) }

func wrong(code Code, why string) error { return &Error{code, why} }

// frame is the header of one.
type frame struct {
	length int
	kind   byte
	flags  byte
	id     uint32
}

func parseFrame(b []byte) frame {
	return frame{int(b[0])<<16 | int(b[1])<<8 | int(b[2]), b[3], b[4], binary.BigEndian.Uint32(b[5:]) & maxID}
}

func appendFrame(out []byte, length int, kind, flags byte, id uint32) []byte {
	return append(out, byte(length>>16), byte(length>>8), byte(length), kind, flags, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func appendWindow(out []byte, id uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(out, 4, frameWindow, 0, id), uint32(n)) //nolint:gosec // windows are less than 1<<31
}

func appendReset(out []byte, id uint32, code Code) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(out, 4, frameReset, 0, id), uint32(code))
}

func appendGoAway(out []byte, last uint32, code Code) []byte {
	out = binary.BigEndian.AppendUint32(appendFrame(out, 8, frameGoAway, 0, 0), last)
	return binary.BigEndian.AppendUint32(out, uint32(code))
}

func appendSetting(out []byte, id uint16, value int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(out, id), uint32(value)) //nolint:gosec // all of them are small
}

// unpad takes the padding and, of HEADERS, the priority from a payload. self says that
// the stream was made to depend on itself.
func unpad(f frame, p []byte) (rest []byte, self, ok bool) {
	pad := 0
	if f.flags&flagPadded != 0 {
		if len(p) == 0 {
			return nil, false, false
		}
		pad, p = int(p[0]), p[1:]
	}
	if f.kind == frameHeaders && f.flags&flagPriority != 0 {
		if len(p) < 5 {
			return nil, false, false
		}
		self = binary.BigEndian.Uint32(p)&maxID == f.id
		p = p[5:]
	}
	if pad > len(p) {
		return nil, false, false
	}
	return p[:len(p)-pad], self, true
}
