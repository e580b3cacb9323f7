//go:build race

package e2e

// The programs under test are built as the tests are.
const raceDetector = true
