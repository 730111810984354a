package docker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// A template runs in the process that serves everybody: one that never ends, or
// that wants the machine's memory, ends with an error.
func TestTemplateBounds(t *testing.T) {
	double := `{{$a := "0123456789"}}{{range 60}}{{$a = `
	for _, text := range []string{
		`{{range 100000000000}}{{end}}`,
		`{{range 100000000000}}{{else}}none{{end}}`,
		`{{if true}}{{with 1}}{{range 100000000000}}{{continue}}{{end}}{{end}}{{end}}`,
		`{{define "a"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}`,
		`{{block "a" .}}{{if 1}}{{template "a"}}{{end}}{{end}}`,
		`{{range 10000}}{{range 10000}}{{range 10000}}{{end}}{{end}}{{end}}`,
		`{{range 15000}}` + strings.Repeat("0123456789", 100) + `{{end}}`,
		`{{pad "x" 1099511627776 0}}`,
		`{{pad "x" 9223372036854775807 9223372036854775807}}`,
		`{{pad "x" -1 0}}`,
		`{{printf "%2000000000d" 1}}`,
		`{{printf "%[1]*d" 900000}}`,
		`{{printf "%.900000f" 1.0}}`,
		`{{printf "%[1]0900000d" 1}}`,
		double + `printf "%s%s" $a $a}}{{end}}`,
		double + `print $a $a}}{{end}}`,
		double + `println $a $a}}{{end}}`,
		double + `html $a "<>&" $a}}{{end}}`,
		double + `js $a $a}}{{end}}`,
		double + `urlquery $a $a}}{{end}}`,
		double + `json (json $a $a)}}{{end}}`,
		double + `pad $a 100000 100000}}{{end}}`,
		double + `join (split $a "") $a}}{{end}}`,
		double + `print (upper $a) (lower $a) (title $a)}}{{end}}`,
		double + `printf "%x" $a}}{{end}}`,
		double + `printf "%q" (split $a "")}}{{end}}`,
		double + `printf "` + strings.Repeat("%[1]s", 500) + `" $a}}{{end}}`,
		double + `json (split (print $a $a) "")}}{{end}}`,
	} {
		c := &call{ctx: context.Background()}
		began := time.Now()
		f, err := c.newFormat(text)
		if err == nil {
			var out strings.Builder
			err = f.execute(&out, map[string]int{})
			if out.Len() > maxBytes {
				t.Errorf("%.60s: printed %d bytes", text, out.Len())
			}
		}
		if err == nil || time.Since(began) > 5*time.Second {
			t.Errorf("%.60s: %v after %v", text, err, time.Since(began))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f, err := (&call{ctx: ctx}).newFormat(`{{range 100}}{{end}}`)
	if err == nil {
		err = f.execute(new(strings.Builder), nil)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

// What people write is not touched by that.
func TestTemplateFunctions(t *testing.T) {
	for text, want := range map[string]string{
		`{{range $k, $v := .m}}{{$k}}={{$v}} {{else}}none{{end}}`:                        "a=1 b=2 ",
		`{{range .none}}{{.}}{{else}}none{{end}}`:                                        "none",
		`{{define "x"}}<{{.}}>{{end}}{{range $i, $s := .s}}{{template "x" $s}}{{end}}`:   "<10.0.0.1><x y>",
		`{{json .s}} {{join .s "+"}} {{upper "a"}}{{lower "B"}} {{title "t"}}`:           `["10.0.0.1","x y"] 10.0.0.1+x y Ab T`,
		`{{range split "a,b,c" ","}}{{println .}}{{end}}`:                                "a\nb\nc\n",
		`{{printf "%-10s|%03d|%5.2f|%%|%q" "ab" 7 3.14159 "q"}}`:                         `ab        |007| 3.14|%|"q"`,
		`{{pad "x" 1 2}}|{{truncate "abcdef" 3}}|{{print 1 2 "a" "b"}}|{{html "<a&b>"}}`: " x  |abc|1 2ab|&lt;a&amp;b&gt;",
		`{{range 3}}{{.}}{{if eq . 1}}{{break}}{{end}}{{end}}`:                           "01",
	} {
		f, err := (&call{ctx: context.Background()}).newFormat(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var out strings.Builder
		err = f.execute(&out, map[string]any{"m": map[string]int{"a": 1, "b": 2}, "s": []string{"10.0.0.1", "x y"}, "none": []int{}})
		if err != nil || out.String() != want {
			t.Errorf("%s: %q, %v, want %q", text, out.String(), err, want)
		}
	}
}
