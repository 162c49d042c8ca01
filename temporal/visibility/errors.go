package visibility

import (
	"errors"

	"go.temporal.io/api/serviceerror"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/failure"
)

// convert returns Temporal's error for a failed call. Messages about bad filters reach the caller; the cell puts no values into them.
func convert(call client.Call, err error) error {
	var refusal *client.Error
	if errors.As(err, &refusal) {
		switch {
		case refusal.IsKind("InvalidQuery"):
			return serviceerror.NewInvalidArgument("invalid query: " + refusal.Message)
		case refusal.IsKind("InvalidRecord"):
			return serviceerror.NewInvalidArgument(refusal.Message)
		}
	}
	return failure.Convert(call, err)
}
