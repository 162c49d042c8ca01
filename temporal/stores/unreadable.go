package stores

import (
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"strongroom/temporal/internal/wire"
)

// reason is why a row can't be read: the ERROR of an unreadable row.
type reason struct {
	message   string
	permanent bool
	damaged   bool
}

func readReason(reader *wire.Reader) reason {
	var why reason
	reader.Fields(func(name string) {
		switch name {
		case "kinds":
			reader.Elements(func() {
				switch reader.Text() {
				case "IntegrityError", "UnsupportedFormat", "DataLoss":
					why.damaged = true
				}
			})
		case "message":
			why.message = reader.Text()
		case "permanent":
			why.permanent = reader.Bool()
		}
	})
	return why
}

// readUnreadable reads the field of a row that says why the row can't be read. It returns false if the row can be read.
func readUnreadable(reader *wire.Reader) (reason, bool) {
	if reader.Nil() {
		return reason{}, false
	}
	return readReason(reader), true
}

// reasonOf reads an unreadable row of a list, and returns its reason.
func reasonOf(reader *wire.Reader) reason {
	var why reason
	reader.Fields(func(name string) {
		if name == "reason" {
			why = readReason(reader)
		}
	})
	return why
}

// notNow returns the error of rows that can be read when the namespace's keys are available again.
func notNow(what string, why reason) error {
	return &serviceerror.ResourceExhausted{
		Cause: enumspb.RESOURCE_EXHAUSTED_CAUSE_PERSISTENCE_LIMIT, Scope: enumspb.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
		Message: what + " can't be read now: " + why.message,
	}
}
