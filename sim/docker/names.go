package docker

// Words for the names of containers that were given none: an adjective and
// somebody to whom networks owe something.
var (
	moods  = []string{"amazing", "brave", "clever", "eager", "gentle", "happy", "jolly", "keen", "lucid", "modest", "nifty", "quiet", "serene", "sharp", "vivid", "wise"}
	people = []string{"baran", "bell", "cerf", "davies", "dijkstra", "estrin", "feinler", "hamming", "hopper", "kahn", "kleinrock", "lamarr", "metcalfe", "perlman", "postel", "shannon"}
)

// randomName is a name for a container.
func (c *call) randomName() string {
	return moods[c.engine.random.IntN(len(moods))] + "_" + people[c.engine.random.IntN(len(people))]
}
