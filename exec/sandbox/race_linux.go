//go:build race

package sandbox

// raceDetector: it maps terabytes, and would find no room under RLIMIT_DATA.
const raceDetector = true
