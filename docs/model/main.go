package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"
)

type Run struct {
	name string
	want string // "ok" or "bad"
	note string
	do   func(limit int) Result
}

var runs []Run

func main() {
	pat := flag.String("run", ".", "regular expression over the names of the runs")
	trace := flag.Bool("v", false, "print the counterexamples")
	list := flag.Bool("list", false, "list the runs")
	limit := flag.Int("limit", 12000000, "state limit of one run (a run that reaches it is reported as cut)")
	flag.Parse()
	re := regexp.MustCompile(*pat)
	registerCore()
	registerDaal()
	registerRows()
	registerCalls()
	registerFused()
	registerTxn()
	registerTpc()
	pass, fail := 0, 0
	for _, r := range runs {
		if !re.MatchString(r.name) {
			continue
		}
		if *list {
			fmt.Printf("%-34s %-4s %s\n", r.name, r.want, r.note)
			continue
		}
		x := r.do(*limit)
		got := "ok"
		if x.Violation != "" {
			got = "bad"
		}
		res := "as expected"
		if got != r.want {
			res = "UNEXPECTED"
			fail++
		} else {
			pass++
		}
		if x.Cut {
			res += ", CUT"
		}
		fmt.Printf("%-34s want %-3s got %-3s %9d states %8d done depth %3d %8s  %s  %s\n", r.name, r.want, got, x.States, x.Goals, x.Depth, x.Took.Round(10*time.Millisecond), res, x.Violation)
		if *trace && x.Violation != "" {
			for i, l := range x.Trace {
				fmt.Printf("      %2d %s\n", i+1, l)
			}
		}
	}
	if !*list {
		fmt.Printf("%d passed, %d failed\n", pass, fail)
	}
	if fail > 0 {
		os.Exit(1)
	}
}
