package docker

import "strconv"

// Words for the names of containers that were given none: an adjective and
// somebody to whom networks owe something.
var (
	moods  = []string{"amazing", "brave", "clever", "eager", "gentle", "happy", "jolly", "keen", "lucid", "modest", "nifty", "quiet", "serene", "sharp", "vivid", "wise"}
	people = []string{"baran", "bell", "cerf", "davies", "dijkstra", "estrin", "feinler", "hamming", "hopper", "kahn", "kleinrock", "lamarr", "metcalfe", "perlman", "postel", "shannon"}
)

// freeName is a name for a container that was given none: at random, after the
// first attempt with a digit, and after the sixth its short ID
// ((*Daemon).generateNewName).
func (c *call) freeName(id string) string {
	for i := range 6 {
		name := moods[c.engine.random.IntN(len(moods))] + "_" + people[c.engine.random.IntN(len(people))]
		if i > 0 {
			name += strconv.Itoa(c.engine.random.IntN(10))
		}
		if c.find(name) == nil {
			return name
		}
	}
	return id[:12]
}
