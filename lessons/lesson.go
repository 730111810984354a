package lessons

import "vethlab/sim/op"

// Languages the lessons are written in, the first being the fallback.
var Languages = []string{"en", "zh-CN", "zh-TW"}

// Text is a text in each language.
type Text map[string]string

// Lesson is a lesson as the page gets it (GET /api/lessons/ID).
type Lesson struct {
	ID    string           `json:"id"`
	World string           `json:"world"`
	Title Text             `json:"title"`
	Intro map[string][]Doc `json:"intro"` // by language: what this lesson is about
	Steps []Step           `json:"steps"`

	Start op.World `json:"-"`
}

// Step returns the step of that ID and its place, or nil and -1.
func (l *Lesson) Step(id string) (*Step, int) {
	for i := range l.Steps {
		if l.Steps[i].ID == id {
			return &l.Steps[i], i
		}
	}
	return nil, -1
}

// Step is one step: prose, an optional prediction, commands, an explanation.
type Step struct {
	ID       string           `json:"id"`
	Title    Text             `json:"title"`
	Prose    map[string][]Doc `json:"prose"` // before the commands, by language
	After    map[string][]Doc `json:"after"` // once they have run
	Commands []Line           `json:"commands"`
	Predict  *Predict         `json:"predict,omitempty"`
	// Focus names what to show when the step has run: the drawer's tab
	// ("journey", "packets", "iptables", "conntrack", "neighbours", "commands"),
	// and which command's journey (its index; -1 for none).
	Focus Focus `json:"focus"`

	// Fails holds the indexes of the commands that are meant to fail: a ping
	// that gets no answer is not a mistake of the learner's.
	Fails []int `json:"fails,omitempty"`

	Checks []Check `json:"-"` // what holds once the step is done, and did not before
}

// Focus is where the page looks when a step has run.
type Focus struct {
	Tab     string `json:"tab"`
	Command int    `json:"command"`
	Node    string `json:"node,omitempty"`
}

// Line is one command line of a transcript.
type Line struct {
	Node string `json:"node"`
	Text string `json:"text"`
	Pos  string `json:"-"` // file:line:col
}

// Predict is a question that the capture answers.
type Predict struct {
	Question Text     `json:"question"`
	Options  []Option `json:"options"`

	Answer Selector `json:"-"` // where the capture or the state holds the answer
}

// Option is one possible answer.
type Option struct {
	ID    string           `json:"id"`
	Label Text             `json:"label"`         // may hold an address in backquotes
	Why   map[string][]Doc `json:"why,omitempty"` // shown when it was chosen: the misconception, or why it is right

	Value string `json:"-"` // right when the Selector reads this
}

// Doc is a piece of prose: a small tree the page renders without innerHTML.
//
//	{"t":"p","c":[…]}  {"t":"ul","c":[{"t":"li",…}]}  {"t":"strong","c":[…]}  {"t":"em","c":[…]}
//	{"t":"code","s":"172.18.0.8"}  {"t":"text","s":"…"}  {"t":"pre","s":"…"}  {"t":"a","href":"https://…","c":[…]}
type Doc struct {
	T    string `json:"t"`
	S    string `json:"s,omitempty"`
	Href string `json:"href,omitempty"`
	C    []Doc  `json:"c,omitempty"`
}
