package main

import (
	"slices"
	"sync"
	"syscall"
	"time"
)

// tally is what one caller saw. Only what ends inside the measured window counts, except errors, which always count.
type tally struct {
	latencies  []time.Duration
	errors     int
	firstError error
	failedAt   time.Time
}

// measure runs as many callers at once as asked, each repeating its operation without a pause.
func measure(start func(caller int) func() error, callers int, warmup, window time.Duration) result {
	tallies := make([]tally, callers)
	operations := make([]func() error, callers)
	for caller := range callers {
		operations[caller] = start(caller)
		tallies[caller].latencies = make([]time.Duration, 0, 1<<12)
	}

	opens := time.Now().Add(warmup)
	closes := opens.Add(window)
	var running sync.WaitGroup
	for caller := range callers {
		running.Go(func() { tallies[caller].repeat(operations[caller], opens, closes) })
	}
	// The processor's time is read at the window's edges: warm-up and the last operations' tails stay out of it.
	time.Sleep(time.Until(opens))
	before := processorTime()
	time.Sleep(time.Until(closes))
	spent := processorTime() - before
	running.Wait()

	return summary(tallies, window, spent)
}

func (t *tally) repeat(operation func() error, opens, closes time.Time) {
	for {
		began := time.Now()
		if !began.Before(closes) {
			return
		}
		err := operation()
		ended := time.Now()
		switch {
		case err != nil:
			if t.errors == 0 {
				t.firstError, t.failedAt = err, ended
			}
			t.errors++
		case !ended.Before(opens) && ended.Before(closes):
			t.latencies = append(t.latencies, ended.Sub(began))
		}
	}
}

func summary(tallies []tally, window, spent time.Duration) result {
	whole := result{Callers: len(tallies), Seconds: window.Seconds()}
	var latencies []time.Duration
	var failedAt time.Time
	for _, part := range tallies {
		latencies = append(latencies, part.latencies...)
		whole.Errors += part.errors
		if part.errors > 0 && (failedAt.IsZero() || part.failedAt.Before(failedAt)) {
			failedAt, whole.FirstError = part.failedAt, part.firstError.Error()
		}
	}
	whole.Operations = len(latencies)
	if len(latencies) == 0 {
		return whole // no operation has no median: the fields stay null
	}
	slices.Sort(latencies)
	whole.P50 = milliseconds(latencies[len(latencies)*50/100])
	whole.P99 = milliseconds(latencies[len(latencies)*99/100])
	each := float64(spent) / float64(time.Microsecond) / float64(len(latencies))
	whole.ClientCPU = &each
	return whole
}

func milliseconds(duration time.Duration) *float64 {
	number := float64(duration) / float64(time.Millisecond)
	return &number
}

// processorTime is what this process has used so far, in user and system mode.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // cannot happen: the arguments are constant
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
