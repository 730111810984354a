package tools

import "vethlab/sim/op"

func runSS(c *call) op.Result      { notSimulated("ss"); return op.Result{} }
func runTcpdump(c *call) op.Result { notSimulated("tcpdump"); return op.Result{} }
