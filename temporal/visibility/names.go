package visibility

import (
	"regexp"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/namespace"
	"go.temporal.io/server/common/searchattribute"
	"go.temporal.io/server/common/searchattribute/sadefs"
)

// words finds all names in a list filter that need no quotes.
var words = regexp.MustCompile(`[A-Za-z_@][\w@$]*(?:\.[A-Za-z_@][\w@$]*)*`)

// namesIn returns everything in a list filter that can be the name of a search attribute: each word, and what is between two quotes.
// Words in texts do no harm, and a quote in a text hides no name.
func namesIn(filter string) []string {
	return append(words.FindAllString(filter, -1), strings.Split(filter, "`")...)
}

// field is a search attribute with the name that records have it under.
type field struct {
	name string
	kind enumspb.IndexedValueType
}

// fieldsOf returns the search attributes that a list filter names, by the names in the filter. Names that resolve does not find are left
// out; the cell knows a few more, and refuses the others.
func fieldsOf(
	filter string,
	namespaceName namespace.Name,
	mapper searchattribute.Mapper,
	known searchattribute.NameTypeMap,
	component *chasm.VisibilitySearchAttributesMapper,
) map[string]field {
	fields := map[string]field{}
	for _, name := range namesIn(filter) {
		if _, seen := fields[name]; seen {
			continue
		}
		if found, ok := resolve(name, namespaceName, mapper, known, component); ok {
			fields[name] = found
		}
	}
	return fields
}

// resolve returns the search attribute of a name: aliases of the namespace come first, then those of the CHASM component, then the
// attributes that every namespace has, with and without their prefix.
//
// query.ResolveSearchAttributeAlias of the server does the same. It is not used, because its parameters depend on the server's version.
// TestNamesAreResolvedAsInTemporal compares the two.
func resolve(
	name string,
	namespaceName namespace.Name,
	mapper searchattribute.Mapper,
	known searchattribute.NameTypeMap,
	component *chasm.VisibilitySearchAttributesMapper,
) (field, bool) {
	if sadefs.IsMappable(name) && mapper != nil {
		if custom, err := mapper.GetFieldName(name, namespaceName.String()); err == nil {
			if kind, err := known.GetType(custom); err == nil {
				return field{custom, kind}, true
			}
		}
	}
	if component != nil {
		if ofComponent, err := component.Field(name); err == nil {
			if kind, err := component.ValueType(ofComponent); err == nil {
				return field{ofComponent, kind}, true
			}
		}
	}
	withoutPrefix := strings.TrimPrefix(name, sadefs.ReservedPrefix)
	candidates := []string{name, sadefs.ReservedPrefix + name, withoutPrefix}
	if withoutPrefix == sadefs.ScheduleID {
		candidates = []string{sadefs.WorkflowID} // the workflow id of a schedule's workflow has a prefix, which the server puts in the filter
	}
	for _, candidate := range candidates {
		if kind, err := known.GetType(candidate); err == nil {
			return field{candidate, kind}, true
		}
	}
	return field{}, false
}
