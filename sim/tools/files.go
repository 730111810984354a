package tools

// files are the files somebody wrote in a simulated lab, by machine and path.
type files map[string]map[string]string
