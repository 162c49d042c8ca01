package stores

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

// row is a row of the list of namespaces.
type row struct {
	id   uuid.UUID
	name string // empty: the row can't be read
	kind string // why it can't
}

func (r row) write(t *testing.T, out *wire.Writer) {
	t.Helper()
	fields := out.Map()
	fields.Field("namespace_id").Bytes16(r.id)
	fields.Field("is_global").Bool(true)
	fields.Field("notification_version").Int(7)
	if r.name != "" {
		detail, err := serialization.NewSerializer().NamespaceDetailToBlob(&persistencespb.NamespaceDetail{
			Info: &persistencespb.NamespaceInfo{Id: r.id.String(), Name: r.name},
		})
		require.NoError(t, err)
		fields.Field("data").Blob(detail)
		fields.Field("unreadable").Nil()
	} else {
		fields.Field("data").Nil()
		why := fields.Field("unreadable").Map()
		why.Field("kinds").Array(1)
		out.Text(r.kind)
		why.Field("permanent").Bool(r.kind == "KeyDestroyed" || r.kind == "KeyWithdrawn")
		why.End()
	}
	fields.End()
}

// listOf answers each list with the rows that rows points to.
func listOf(t *testing.T, rows *[]row) *cell {
	t.Helper()
	return &cell{answer: func(_ client.Call, out *wire.Writer) error {
		page := out.Map()
		page.Field("namespaces").Array(len(*rows))
		for _, each := range *rows {
			each.write(t, out)
		}
		page.Field("next_page_token").Nil()
		page.End()
		return nil
	}}
}

// names returns the names that Temporal sees.
func names(t *testing.T, store persistence.MetadataStore) []string {
	t.Helper()
	list, err := store.ListNamespaces(context.Background(), &persistence.InternalListNamespacesRequest{PageSize: 10})
	require.NoError(t, err)
	var found []string
	for _, each := range list.Namespaces {
		detail, err := serialization.NewSerializer().NamespaceDetailFromBlob(each.Namespace)
		require.NoError(t, err)
		require.Equal(t, int64(7), each.NotificationVersion)
		found = append(found, detail.Info.Name)
	}
	return found
}

// A namespace whose keys are away, or whose row was altered, stays in the list: as it was last read, or as a placeholder. A shredded
// one, and one that is deleted, is left out. Otherwise Temporal would forget the namespace and drop its tasks.
func TestNamespacesThatCannotBeRead(t *testing.T) {
	one, two := uuid.New(), uuid.New()
	rows := []row{{id: one, name: "one"}, {id: two, kind: "KmsUnavailable"}}
	store, err := factoryOf(listOf(t, &rows)).NewMetadataStore()
	require.NoError(t, err)
	require.Equal(t, []string{"one", placeholderNamespace + two.String()}, names(t, store))
	for _, kind := range []string{"KmsUnavailable", "AccessDenied", "IntegrityError"} {
		rows = []row{{id: one, kind: kind}, {id: two, name: "two"}}
		require.Equal(t, []string{"one", "two"}, names(t, store), kind)
	}
	for _, kind := range []string{"KeyDestroyed", "KeyWithdrawn"} {
		rows = []row{{id: one, kind: kind}, {id: two, kind: "KmsUnavailable"}}
		require.Equal(t, []string{"two"}, names(t, store), kind)
	}
}

// A look-up by id fails only for a namespace that does not exist, because the registry drops tasks after every failure.
func TestLookUpsOfNamespacesThatCannotBeRead(t *testing.T) {
	id := uuid.New()
	for kind, exists := range map[string]bool{
		"KmsUnavailable": true, "DatabaseTimeout": true, "IntegrityError": true, "SomethingNew": true, client.KindTimeout: true,
		"NamespaceNotFound": false, "KeyDestroyed": false, "KeyWithdrawn": false,
	} {
		store, err := factoryOf(&cell{answer: func(client.Call, *wire.Writer) error {
			return &client.Error{Kinds: []string{kind}}
		}}).NewMetadataStore()
		require.NoError(t, err)
		found, err := store.GetNamespace(context.Background(), &persistence.GetNamespaceRequest{ID: id.String()})
		if !exists {
			require.IsType(t, &serviceerror.NamespaceNotFound{}, err, kind)
			continue
		}
		require.NoError(t, err, kind)
		detail, err := serialization.NewSerializer().NamespaceDetailFromBlob(found.Namespace)
		require.NoError(t, err)
		require.Equal(t, id.String(), detail.Info.Id)
		_, err = store.GetNamespace(context.Background(), &persistence.GetNamespaceRequest{Name: "name"})
		require.Error(t, err, "a name is not known to be the name of a namespace that exists")
	}
}

// A look-up by name finds a namespace whose keys are away: as a placeholder with this name, which later lists have too.
func TestLookUpsByNameOfNamespacesWithoutKeys(t *testing.T) {
	id := uuid.New()
	rows := []row{{id: id, kind: "KmsUnavailable"}}
	list := listOf(t, &rows)
	doer := &cell{answer: func(call client.Call, out *wire.Writer) error {
		if call.Operation == "metadata.list_namespaces" {
			return list.answer(call, out)
		}
		rows[0].write(t, out)
		return nil
	}}
	store, err := factoryOf(doer).NewMetadataStore()
	require.NoError(t, err)
	require.Equal(t, []string{placeholderNamespace + id.String()}, names(t, store))
	found, err := store.GetNamespace(context.Background(), &persistence.GetNamespaceRequest{Name: "tenant"})
	require.NoError(t, err)
	require.Equal(t, true, doer.arguments(t)["unavailable"])
	detail, err := serialization.NewSerializer().NamespaceDetailFromBlob(found.Namespace)
	require.NoError(t, err)
	require.Equal(t, id.String(), detail.Info.Id)
	require.Equal(t, "tenant", detail.Info.Name)
	require.Equal(t, []string{"tenant"}, names(t, store))
	err = store.UpdateNamespace(context.Background(), &persistence.InternalUpdateNamespaceRequest{Id: id.String(), Namespace: found.Namespace})
	require.IsType(t, &serviceerror.ResourceExhausted{}, err, "a placeholder must not replace the settings")
	rows = []row{{id: id, name: "renamed"}}
	require.Equal(t, []string{"renamed"}, names(t, store))
	rows = []row{{id: id, kind: "KmsUnavailable"}}
	_, err = store.GetNamespace(context.Background(), &persistence.GetNamespaceRequest{Name: "tenant"})
	require.IsType(t, &serviceerror.DataLoss{}, err, "the row's last name was another one")
}

// The KEK of a namespace is in its data, or left to the rule of the configuration.
func TestKekOfANamespace(t *testing.T) {
	for kek, data := range map[string]map[string]string{"": nil, "local:mine": {kekSetting: "local:mine"}} {
		doer := &cell{answer: nothing}
		store, err := factoryOf(doer).NewMetadataStore()
		require.NoError(t, err)
		detail, err := serialization.NewSerializer().NamespaceDetailToBlob(&persistencespb.NamespaceDetail{
			Info: &persistencespb.NamespaceInfo{Data: data},
		})
		require.NoError(t, err)
		_, err = store.CreateNamespace(context.Background(), &persistence.InternalCreateNamespaceRequest{ID: uuid.NewString(), Name: "n", Namespace: detail})
		require.NoError(t, err)
		given, _ := doer.arguments(t)["kek"].(string)
		require.Equal(t, kek, given)
	}
}
