//go:build linux

package main

import (
	"testing"

	"vethlab/exec"
)

func TestJourneys(t *testing.T) {
	for _, iptables := range []string{"nft", "legacy"} {
		t.Run(iptables, func(t *testing.T) {
			t.Parallel()
			lesson := journeyLesson(t)
			lab, sh := openLab(t, lesson, exec.Options{Iptables: iptables})
			view := asTheyAre
			if iptables == "legacy" {
				view = decisive
			}
			checkJourneys(t, playOn(t, lesson, lab, sh), view)
		})
	}
}
