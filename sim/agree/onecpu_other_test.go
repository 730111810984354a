//go:build !linux

package agree_test

func onOneCPU(int) {}
