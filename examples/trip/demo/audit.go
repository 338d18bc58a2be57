package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cell is a line of `beldi cells export`.
type cell struct {
	Service string          `json:"service"`
	Table   string          `json:"table"`
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value"`
}

// The tables, each by its key.
type tables struct {
	rooms    map[string]stock
	seats    map[string]stock
	hotels   map[string]booking // bookings of rooms
	flights  map[string]booking // bookings of seats
	accounts map[string]account
	payments map[string]payment
	trips    map[string]booked
	revenue  int64
}

type stock struct {
	Free int64 `json:"free"`
}

type booking struct {
	Hotel  string `json:"hotel"`
	Flight string `json:"flight"`
	Trip   string `json:"trip"`
	Price  int64  `json:"price"`
}

type account struct {
	Balance int64 `json:"balance"`
}

type payment struct {
	User   string `json:"user"`
	Trip   string `json:"trip"`
	Amount int64  `json:"amount"`
}

func newTables(cells []cell) (tables, error) {
	t := tables{
		rooms: map[string]stock{}, seats: map[string]stock{}, hotels: map[string]booking{}, flights: map[string]booking{},
		accounts: map[string]account{}, payments: map[string]payment{}, trips: map[string]booked{},
	}
	for _, c := range cells {
		var err error
		switch name := c.Service + "/" + c.Table; name {
		case "hotel/rooms":
			err = put(t.rooms, c)
		case "hotel/bookings":
			err = put(t.hotels, c)
		case "flight/seats":
			err = put(t.seats, c)
		case "flight/bookings":
			err = put(t.flights, c)
		case "pay/accounts":
			err = put(t.accounts, c)
		case "pay/payments":
			err = put(t.payments, c)
		case "pay/revenue":
			err = json.Unmarshal(c.Value, &t.revenue)
		case "trip/trips":
			err = put(t.trips, c)
		default:
			err = fmt.Errorf("there is no table %s", name)
		}
		if err != nil {
			return t, fmt.Errorf("%s/%s %s: %w", c.Service, c.Table, c.Key, err)
		}
	}
	return t, nil
}

func put[T any](table map[string]T, c cell) error {
	var v T
	err := json.Unmarshal(c.Value, &v)
	table[c.Key] = v
	return err
}

// findings are what the audit holds against a run. A duplicate is an effect that happened more often than it should, a
// lost one less often.
type findings struct {
	duplicates, lost []string
}

func (f *findings) duplicate(format string, args ...any) {
	f.duplicates = append(f.duplicates, fmt.Sprintf(format, args...))
}

func (f *findings) lose(format string, args ...any) {
	f.lost = append(f.lost, fmt.Sprintf(format, args...))
}

// check judges the tables after a run by the tables before and by what callers were told, and by nothing that the
// code under test counted.
func check(before, after tables, outcomes []outcome) findings {
	var f findings
	callers(&f, after, outcomes)
	legs(&f, after)
	stocks(&f, "room", before.rooms, after.rooms, after.hotels, func(b booking) string { return b.Hotel })
	stocks(&f, "seat", before.seats, after.seats, after.flights, func(b booking) string { return b.Flight })
	money(&f, before, after)
	return f
}

// callers: who was told of a trip has that trip and no other, who was told of a failure has none, and who asked twice
// was told the same.
func callers(f *findings, after tables, outcomes []outcome) {
	trips := map[string][]string{} // by request
	for _, id := range slices.Sorted(maps.Keys(after.trips)) {
		r := after.trips[id].Request
		trips[r] = append(trips[r], id)
	}
	for _, o := range outcomes {
		has := trips[o.request.ID]
		delete(trips, o.request.ID)
		switch {
		case o.booked == nil && len(has) > 0:
			f.duplicate("request %s failed (%s), but there is trip %s", o.request.ID, o.failure, has)
		case o.booked != nil && !slices.Contains(has, o.booked.Trip):
			f.lose("request %s was told of trip %s, which is not there", o.request.ID, o.booked.Trip)
		case len(has) > 1:
			f.duplicate("request %s has %d trips: %s", o.request.ID, len(has), has)
		}
		if o.again != nil && *o.again != *o.booked {
			f.duplicate("request %s was told of trip %s, and then of %s", o.request.ID, o.booked.Trip, o.again.Trip)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(trips)) {
		f.duplicate("trips %s are of request %q, which nobody made", trips[r], r)
	}
}

// legs: each trip has its room, its seat and its payment, for the price that it says, and no room, seat or payment is
// without its trip.
func legs(f *findings, after tables) {
	for _, id := range slices.Sorted(maps.Keys(after.trips)) {
		t := after.trips[id]
		h, room := after.hotels[t.Hotel]
		s, seat := after.flights[t.Flight]
		p, paid := after.payments[t.Payment]
		switch {
		case !room || h.Trip != id:
			f.lose("trip %s has no room: booking %s", id, t.Hotel)
		case !seat || s.Trip != id:
			f.lose("trip %s has no seat: booking %s", id, t.Flight)
		case !paid || p.Trip != id:
			f.lose("trip %s is not paid: payment %s", id, t.Payment)
		case p.Amount != t.Amount || h.Price+s.Price != t.Amount:
			f.lose("trip %s costs %d, is booked for %d, and %d are paid", id, t.Amount, h.Price+s.Price, p.Amount)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(after.hotels)) {
		if trip := after.hotels[id].Trip; after.trips[trip].Hotel != id {
			f.duplicate("room booking %s is of trip %s, which knows nothing of it", id, trip)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(after.flights)) {
		if trip := after.flights[id].Trip; after.trips[trip].Flight != id {
			f.duplicate("seat booking %s is of trip %s, which knows nothing of it", id, trip)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(after.payments)) {
		if trip := after.payments[id].Trip; after.trips[trip].Payment != id {
			f.duplicate("payment %s is of trip %s, which knows nothing of it", id, trip)
		}
	}
}

// stocks: what was free, less what is booked, is free.
func stocks(f *findings, what string, before, after map[string]stock, bookings map[string]booking, of func(booking) string) {
	taken := map[string]int64{}
	for _, b := range bookings {
		taken[of(b)]++
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		left, now := before[name].Free-taken[name], after[name].Free
		switch {
		case now < 0 || now < left:
			f.duplicate("%s of %s: %d free, %d booked, so %d must be left, not %d", what, name, before[name].Free, taken[name], left, now)
		case now > left:
			f.lose("%s of %s: %d free, %d booked, so %d must be left, not %d", what, name, before[name].Free, taken[name], left, now)
		}
	}
}

// money: what a user had, less what the user paid, is there, and the rest is revenue.
func money(f *findings, before, after tables) {
	paid, total := map[string]int64{}, int64(0)
	for _, p := range after.payments {
		paid[p.User] += p.Amount
		total += p.Amount
	}
	for _, user := range slices.Sorted(maps.Keys(before.accounts)) {
		left, now := before.accounts[user].Balance-paid[user], after.accounts[user].Balance
		switch {
		case now < left:
			f.duplicate("account %s: %d must be left, not %d", user, left, now)
		case now > left:
			f.lose("account %s: %d must be left, not %d", user, left, now)
		}
	}
	switch revenue := after.revenue - before.revenue; {
	case revenue > total:
		f.duplicate("revenue: %d were paid, %d came in", total, revenue)
	case revenue < total:
		f.lose("revenue: %d were paid, %d came in", total, revenue)
	}
}

// audit exports the tables, checks them, and prints what it found.
func (w *world) audit(ctx context.Context, before string, s sent, took time.Duration) (clean bool, err error) {
	start, err := readLines[cell](before)
	if err != nil {
		return false, err
	}
	var end []cell
	for _, service := range services {
		file := filepath.Join(filepath.Dir(strings.TrimPrefix(w.address, "unix://")), service+".jsonl")
		if _, err := w.cli(ctx, "cells", "export", service, "--file", file); err != nil {
			return false, err
		}
		cells, err := readLines[cell](file)
		if err != nil {
			return false, err
		}
		end = append(end, cells...)
	}
	first, err := newTables(start)
	if err != nil {
		return false, err
	}
	last, err := newTables(end)
	if err != nil {
		return false, err
	}
	instances, attempts, err := w.attempts(ctx)
	if err != nil {
		return false, err
	}
	f := check(first, last, s.outcomes)

	failures := map[string]int{}
	failed, again := 0, 0
	for _, o := range s.outcomes {
		if o.booked == nil {
			failed++
			failures[o.failure]++
		}
		if o.again != nil {
			again++
		}
	}
	var codes []string
	for _, code := range slices.Sorted(maps.Keys(failures)) {
		codes = append(codes, fmt.Sprintf("%s %d", code, failures[code]))
	}
	functions, sidecar := w.kills()
	print := func(name string, n any, rest string, args ...any) {
		fmt.Printf("%-12s%8v  %s\n", name, n, fmt.Sprintf(rest, args...))
	}
	print("requests", len(s.outcomes), "in %.1f s; %d booked, %d failed (%s)", took.Seconds(), len(s.outcomes)-failed, failed, strings.Join(codes, ", "))
	print("tries", s.tries, "of the client; %d requests asked a second time on purpose", again)
	print("attempts", attempts, "of %d instances", instances)
	print("replays", attempts-instances, "attempts that went over the journal of an earlier one")
	print("kills", functions+sidecar, "by SIGKILL: functions %d, sidecar %d", functions, sidecar)
	print("duplicates", len(f.duplicates), "")
	print("lost", len(f.lost), "")
	for _, line := range slices.Concat(f.duplicates, f.lost) {
		fmt.Fprintln(os.Stderr, line)
	}
	return len(f.duplicates)+len(f.lost) == 0, nil
}

// attempts counts the instances of the run, and their attempts.
func (w *world) attempts(ctx context.Context) (instances, attempts int, err error) {
	for _, service := range services {
		out, err := w.cli(ctx, "instances", "list", "--service", service, "--limit", "1000000", "-o", "json")
		if err != nil {
			return 0, 0, err
		}
		var list []struct{ Attempts int }
		if err := json.Unmarshal(out, &list); err != nil {
			return 0, 0, fmt.Errorf("beldi instances list: %w", err)
		}
		instances += len(list)
		for _, i := range list {
			attempts += i.Attempts
		}
	}
	return instances, attempts, nil
}

// spoil makes the tables wrong, so that the audit can be seen to notice.
func (w *world) spoil(ctx context.Context, what string) error {
	var err error
	switch what {
	case "":
	case "room":
		_, err = w.cli(ctx, "cells", "put", "hotel", "rooms", "Oslo/1", `{"city": "Oslo", "price": 1, "free": -1, "last": ""}`)
	case "money":
		_, err = w.cli(ctx, "cells", "put", "pay", "revenue", "total", "1")
	case "payment":
		_, err = w.cli(ctx, "cells", "put", "pay", "payments", "twice", `{"user": "u000", "trip": "", "amount": 100}`)
	case "booking":
		var out []byte
		if out, err = w.cli(ctx, "cells", "list", "hotel", "bookings", "--limit", "1", "-o", "json"); err != nil {
			return err
		}
		var first []cell
		if err := json.Unmarshal(out, &first); err != nil || len(first) == 0 {
			return fmt.Errorf("break booking: no booking to delete: %v", err)
		}
		_, err = w.cli(ctx, "cells", "put", "hotel", "bookings", first[0].Key, "--delete")
	default:
		err = fmt.Errorf("-break %s; want booking, payment, room or money", what)
	}
	return err
}
