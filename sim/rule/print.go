package rule

// words is a rule being written.
type words []string

func (w *words) add(s ...string) { *w = append(*w, s...) }
