package sim

func init() { strict = true }
