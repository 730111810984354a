package op

import "testing"

// What a file is written by, as a line, is read as the same.
func TestFileWrite(t *testing.T) {
	for _, text := range []string{"", "a", "a b\n\tc", `100% of \n it's`, "\\", "%", "x > y"} {
		o := FileWrite{"/etc/it s", text}
		if got, ok := ParseFileWrite(o.String()); !ok || got != o {
			t.Errorf("%s became %q, %v", o, got, ok)
		}
	}
	for _, bad := range []string{"printf x", "printf x > y z", "echo x > y", `printf '\x' > y`, "printf 'x > y"} {
		if o, ok := ParseFileWrite(bad); ok {
			t.Errorf("%s became %v", bad, o)
		}
	}
}

func TestWords(t *testing.T) {
	for line, want := range map[string]string{`a  b`: "a|b", `'a b' c"d e"`: "a b|cd e", `a\ b "\$x\n" ''`: `a b|$x\n|`, "\ta\n": "a", "": ""} {
		w, err := Words(line)
		got := ""
		for i, s := range w {
			if i > 0 {
				got += "|"
			}
			got += s
		}
		if err != nil || got != want {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
	for _, bad := range []string{"'a", `"a`, `a\`} {
		if w, err := Words(bad); err == nil {
			t.Errorf("%s became %q", bad, w)
		}
	}
}

func TestAt(t *testing.T) {
	for _, c := range [][3]string{{At("host2", "web"), "host2", "web"}, {"web", "", "web"}, {">web", "", ">web"}, {At("h", "/proc/7/ns/net"), "h", "/proc/7/ns/net"}} {
		if node, name := SplitAt(c[0]); node != c[1] || name != c[2] {
			t.Errorf("%s: %q, %q", c[0], node, name)
		}
	}
}
