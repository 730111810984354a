package lessons

import (
	"testing"
)

func TestContentLoads(t *testing.T) {
	for _, id := range lessonIDs(Content()) {
		if _, err := Load(id); err != nil {
			t.Errorf("%s:\n%s", id, err)
		}
	}
	for _, name := range Worlds() {
		if _, err := LoadWorld(name); err != nil {
			t.Errorf("world %s:\n%s", name, err)
		}
	}
}
