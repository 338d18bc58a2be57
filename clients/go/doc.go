// Package beldi makes Go functions exactly-once. A function is ordinary code that reads and writes tables, invokes other
// functions and asks for the time through a [Context]; the sidecar beside the process logs what it does. The process, the
// sidecar or the machine may die anywhere: the function runs again, and the outcome is that of one run.
//
//	svc := beldi.NewService("hotel")
//	beldi.Handle(svc, "reserve", func(ctx *beldi.Context, order Order) (Booking, error) {
//		rooms, ok, err := beldi.Read[Rooms](ctx, "rooms", order.Hotel)
//		if err != nil {
//			return Booking{}, err
//		}
//		if !ok || rooms.Free < 1 {
//			return Booking{}, beldi.Fail("sold out", beldi.Code("SOLD_OUT"))
//		}
//		rooms.Free--
//		if err := ctx.Write("rooms", order.Hotel, rooms); err != nil {
//			return Booking{}, err
//		}
//		return Booking{order.Hotel}, nil
//	})
//	err := svc.Run(context.Background())
//
// # Replay
//
// A function may run several times for one request; such a run is an attempt. Every operation is a step, named by its place in
// the program (1, 2, 3…), and a later attempt gets the results that an earlier one was given. Therefore the code must take the
// same path when it is given the same results: no clock, no random numbers, no I/O but through the Context ([Context.Now],
// [Context.Random], [Context.UUID], [Record]). Code that takes another path fails with the reason NON_DETERMINISM. Steps in
// parallel go through [Context.Group]; a Context must not be shared by goroutines.
//
// # Results, failures, crashes
//
// What a handler returns decides:
//
//   - a value: the instance has succeeded;
//   - an error that is or wraps a [*Failure], made by [Fail] or received from a function that was invoked: the instance
//     has failed for good, and its caller gets that failure;
//   - an error that wraps [ErrAttemptOver]: nothing; another attempt has taken over;
//   - any other error, or a panic: a crash. Another attempt follows, with back-off, until the sidecar gives up.
//
// # Values
//
// Values are JSON, by encoding/json, with two additions: a []byte is stored as it is, with the content type
// application/octet-stream, and a [Value] is any content type. Numbers that are decoded into an interface become
// [encoding/json.Number], since a float64 would lose integers beyond 2^53.
//
// # Callers outside
//
// A [Client] invokes functions from a program that is no function itself: see [Call].
package beldi
