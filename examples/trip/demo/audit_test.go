package main

import (
	"strings"
	"testing"
)

// A run of two requests: r1 is booked, r2 failed. Each case spoils it in one way, and the audit must name it.
func TestCheckNotices(t *testing.T) {
	type run struct {
		before, after tables
		outcomes      []outcome
	}
	cases := []struct {
		name      string
		spoil     func(*run)
		duplicate string
		lost      string
	}{
		{name: "nothing", spoil: func(*run) {}},
		{name: "room taken twice", spoil: func(r *run) { r.after.rooms["Oslo/1"] = stock{3} }, duplicate: "room of Oslo/1"},
		{name: "room not taken", spoil: func(r *run) { r.after.rooms["Oslo/1"] = stock{5} }, lost: "room of Oslo/1"},
		{name: "seat taken twice", spoil: func(r *run) { r.after.seats["Oslo-1"] = stock{8} }, duplicate: "seat of Oslo-1"},
		{name: "charged twice", spoil: func(r *run) { r.after.accounts["u1"] = account{500} }, duplicate: "account u1"},
		{name: "not charged", spoil: func(r *run) { r.after.accounts["u1"] = account{1000} }, lost: "account u1"},
		{name: "revenue twice", spoil: func(r *run) { r.after.revenue = 600 }, duplicate: "revenue"},
		{name: "revenue lost", spoil: func(r *run) { r.after.revenue = 0 }, lost: "revenue"},
		{name: "second payment", spoil: func(r *run) { r.after.payments["p2"] = payment{"u1", "t1", 300} }, duplicate: "payment p2"},
		{name: "second booking", spoil: func(r *run) { r.after.hotels["h2"] = booking{Hotel: "Oslo/1", Trip: "t1"} }, duplicate: "room booking h2"},
		{name: "booking not given back", spoil: func(r *run) { r.after.flights["f2"] = booking{Flight: "Oslo-1", Trip: "t2"} }, duplicate: "seat booking f2"},
		{name: "booking lost", spoil: func(r *run) { delete(r.after.flights, "f1") }, lost: "trip t1 has no seat"},
		{name: "payment lost", spoil: func(r *run) { delete(r.after.payments, "p1") }, lost: "trip t1 is not paid"},
		{name: "wrong amount", spoil: func(r *run) { r.after.payments["p1"] = payment{"u1", "t1", 200} }, lost: "trip t1 costs 300"},
		{name: "trip lost", spoil: func(r *run) { delete(r.after.trips, "t1") }, lost: "trip t1, which is not there"},
		{name: "second trip", spoil: func(r *run) { r.after.trips["t9"] = booked{Request: "r1"} }, duplicate: "request r1 has 2 trips"},
		{name: "trip of a failed request", spoil: func(r *run) { r.after.trips["t9"] = booked{Request: "r2"} }, duplicate: "request r2 failed"},
		{name: "trip of nobody", spoil: func(r *run) { r.after.trips["t9"] = booked{Request: "r3"} }, duplicate: "nobody made"},
		{name: "another answer", spoil: func(r *run) { r.outcomes[0].again = &booked{Trip: "t9"} }, duplicate: "and then of t9"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			trip := booked{Trip: "t1", Request: "r1", Hotel: "h1", Flight: "f1", Payment: "p1", Amount: 300}
			r := run{
				before: tables{
					rooms: map[string]stock{"Oslo/1": {5}}, seats: map[string]stock{"Oslo-1": {10}}, accounts: map[string]account{"u1": {1000}},
				},
				after: tables{
					rooms: map[string]stock{"Oslo/1": {4}}, seats: map[string]stock{"Oslo-1": {9}},
					hotels:   map[string]booking{"h1": {Hotel: "Oslo/1", Trip: "t1", Price: 100}},
					flights:  map[string]booking{"f1": {Flight: "Oslo-1", Trip: "t1", Price: 200}},
					accounts: map[string]account{"u1": {700}}, payments: map[string]payment{"p1": {"u1", "t1", 300}},
					trips: map[string]booked{"t1": trip}, revenue: 300,
				},
				outcomes: []outcome{
					{request: request{ID: "r1"}, booked: &trip, again: &trip},
					{request: request{ID: "r2"}, failure: "SOLD_OUT"},
				},
			}
			c.spoil(&r)
			f := check(r.before, r.after, r.outcomes)
			expect(t, "duplicates", f.duplicates, c.duplicate)
			expect(t, "lost", f.lost, c.lost)
		})
	}
}

// expect wants a line that contains the text, or none if there is no text and nothing else is wanted either. Some ways
// to spoil a run show in more than one place, so further lines are fine where one is wanted.
func expect(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if want == "" {
		if t.Name() == "TestCheckNotices/nothing" && len(got) > 0 {
			t.Errorf("%s: %q, want none", what, got)
		}
		return
	}
	if !strings.Contains(strings.Join(got, "\n"), want) {
		t.Errorf("%s: %q, want one with %q", what, got, want)
	}
}
