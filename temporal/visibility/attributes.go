package visibility

import (
	"errors"
	"fmt"
	"math"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	persistencestore "go.temporal.io/server/common/persistence/visibility/store"
	"go.temporal.io/server/common/searchattribute"
	"go.temporal.io/server/common/searchattribute/sadefs"
)

// maxTextBytes is the maximum length of a text in a search attribute. It is the limit of Temporal's Elasticsearch store.
const maxTextBytes = 32766

var (
	firstTime = time.Unix(0, math.MinInt64)
	lastTime  = time.Unix(0, math.MaxInt64)
)

// attributes are the search attributes of one record, by the names of their fields.
type attributes struct {
	values map[string]any
	// types has the types of the attributes that the namespace may define. The cell knows those of Temporal.
	types map[string]enumspb.IndexedValueType
}

// decodeAttributes returns the values of search attributes as the cell stores them. An attribute without a value, or with an empty list, is left out.
//
// A value that the cell can't store is left out too, with a warning. Otherwise the visibility task of this run would fail forever.
// Temporal checks values with ValidateCustomSearchAttributes before a run gets them.
func decodeAttributes(
	encoded *commonpb.SearchAttributes, known searchattribute.NameTypeMap, logger log.Logger,
) (attributes, error) {
	fields := encoded.GetIndexedFields()
	decoded := attributes{make(map[string]any, len(fields)), make(map[string]enumspb.IndexedValueType, len(fields))}
	for name, payload := range fields {
		kind, err := known.GetType(name)
		if err != nil {
			// Attributes of CHASM, and those that this server does not know yet, have their type in the payload.
			kind = sadefs.GetMetadataType(payload)
		}
		value, err := sadefs.DecodeValue(payload, kind, true)
		if err != nil {
			if errors.Is(err, sadefs.ErrInvalidType) {
				logger.Warn("skipping a search attribute of unknown type", tag.String("search-attribute", name))
				continue
			}
			// The error of the decoder quotes the value.
			return attributes{}, serviceerror.NewInternalf("unable to decode a search attribute of type %v", kind)
		}
		stored, err := storable(value, kind)
		if err != nil {
			logger.Warn("skipping a search attribute", tag.String("search-attribute", name), tag.Error(err))
			continue
		}
		if stored == nil {
			continue
		}
		decoded.values[name] = stored
		decoded.types[name] = kind
	}
	return decoded, nil
}

// validateAttributes returns the values that the cell can store, and an error that names all other attributes.
func validateAttributes(values map[string]any, known searchattribute.NameTypeMap) (map[string]any, error) {
	valid := make(map[string]any, len(values))
	var faults []error
	for name, value := range values {
		kind, err := known.GetType(name)
		if err != nil {
			kind = enumspb.INDEXED_VALUE_TYPE_UNSPECIFIED
		}
		if _, err := storable(value, kind); err != nil {
			faults = append(faults, fmt.Errorf("search attribute %s: %w", name, err))
			continue
		}
		valid[name] = value
	}
	if faults != nil {
		return valid, persistencestore.NewVisibilityStoreInvalidValuesError(faults)
	}
	return valid, nil
}

// storable returns a decoded value as the cell stores it: a Datetime in nanoseconds, and a list of one element as this element,
// and an empty list as nil. Only a KeywordList has lists, as in Temporal's SQL stores.
func storable(value any, kind enumspb.IndexedValueType) (any, error) {
	switch value := value.(type) {
	case nil, bool, int64, float64:
		return value, nil
	case string:
		return value, checkText(value)
	case time.Time:
		return storableTime(value)
	case []string:
		if len(value) == 0 {
			return nil, nil
		}
		if kind != enumspb.INDEXED_VALUE_TYPE_KEYWORD_LIST && kind != enumspb.INDEXED_VALUE_TYPE_UNSPECIFIED {
			return storableElement(value, kind)
		}
		for _, text := range value {
			if err := checkText(text); err != nil {
				return nil, err
			}
		}
		return value, nil
	case []bool:
		return storableElement(value, kind)
	case []int64:
		return storableElement(value, kind)
	case []float64:
		return storableElement(value, kind)
	case []time.Time:
		return storableElement(value, kind)
	default:
		return nil, serviceerror.NewInvalidArgumentf("values of the Go type %T can't be stored", value)
	}
}

func storableElement[T any](list []T, kind enumspb.IndexedValueType) (any, error) {
	if len(list) != 1 {
		return nil, serviceerror.NewInvalidArgumentf(
			"a list of values is not supported for type %v; use a KeywordList", kind)
	}
	return storable(list[0], kind)
}

func storableTime(value time.Time) (any, error) {
	if value.Before(firstTime) || value.After(lastTime) {
		return nil, serviceerror.NewInvalidArgumentf(
			"a Datetime must be between %v and %v", firstTime.UTC(), lastTime.UTC())
	}
	return value.UnixNano(), nil
}

func checkText(text string) error {
	if len(text) > maxTextBytes {
		return serviceerror.NewInvalidArgumentf(
			"strings with more than %d bytes are not supported (got string of len %d)", maxTextBytes, len(text))
	}
	return nil
}

// encodeAttributes returns stored values as Temporal's payloads with their types. Attributes that are not known (any more) are left out.
func encodeAttributes(stored map[string]any, known searchattribute.NameTypeMap) (*commonpb.SearchAttributes, error) {
	values := make(map[string]any, len(stored))
	for name, value := range stored {
		kind, err := known.GetType(name)
		if err != nil {
			continue
		}
		decoded, err := fromStored(value, kind)
		if err != nil {
			return nil, err
		}
		values[name] = decoded
	}
	return searchattribute.Encode(values, &known)
}

// fromStored returns a value of the cell as Temporal encodes it. The cell may return a whole Double as an integer.
func fromStored(value any, kind enumspb.IndexedValueType) (any, error) {
	switch kind {
	case enumspb.INDEXED_VALUE_TYPE_DATETIME:
		if nanoseconds, ok := value.(int64); ok {
			return time.Unix(0, nanoseconds).UTC(), nil
		}
	case enumspb.INDEXED_VALUE_TYPE_DOUBLE:
		switch value := value.(type) {
		case float64:
			return value, nil
		case int64:
			return float64(value), nil
		}
	case enumspb.INDEXED_VALUE_TYPE_INT:
		if number, ok := value.(int64); ok {
			return number, nil
		}
	case enumspb.INDEXED_VALUE_TYPE_BOOL:
		if truth, ok := value.(bool); ok {
			return truth, nil
		}
	case enumspb.INDEXED_VALUE_TYPE_KEYWORD_LIST:
		switch value := value.(type) {
		case []string:
			return value, nil
		case string:
			return []string{value}, nil
		}
	case enumspb.INDEXED_VALUE_TYPE_KEYWORD, enumspb.INDEXED_VALUE_TYPE_TEXT:
		if text, ok := value.(string); ok {
			return text, nil
		}
	}
	return nil, serviceerror.NewInternalf("a stored search attribute of type %v has a value of the Go type %T", kind, value)
}
