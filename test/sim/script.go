package sim

import (
	"fmt"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
)

// scripts are fixed programs that together use every operation. Crash points run each with a fault at every call.
var scripts = map[string]func(*Ctx) (daal.Value, *intent.Failure){}

// scripted runs the script that its input names.
func scripted(c *Ctx) (daal.Value, *intent.Failure) {
	name := string(c.a.Input.Data)
	return scripts[name[1:len(name)-1]](c)
}

func value(format string, args ...any) daal.Value { return daal.JSON(fmt.Sprintf(format, args...)) }

func flipped(c *Ctx) (daal.Value, *intent.Failure) { return daal.Value{}, nil }
