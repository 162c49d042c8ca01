/* on a cluster only */
-- Write visibility records of one shard of a Citus cluster, like the statement `put` of records.sql, which Citus does not accept. Only a newer
-- version replaces a record, so a late or repeated write changes nothing, and neither does a write of a run that was deleted since.
-- Returns a row for each record that was written, and one without an id that has the digest of what the entry of the journal replaced.
CREATE FUNCTION put_visibility_records(
    p_shard integer,          -- the shard of all records
    p_namespace uuid,
    v_id bytea[],
    v_version bigint[],
    v_epoch integer[],
    v_close_bucket bigint[],
    v_start_bucket bigint[],
    v_tokens text[],          -- array literals, because arrays of arrays must be rectangular
    v_sealed bytea[],
    v_h_workflow bigint[],
    v_h_run bigint[],
    v_h_type bigint[],
    v_h_status bigint[],
    v_h_queue bigint[],
    v_h_division bigint[],
    j_writer uuid,            -- the entry of the journal, as if all records were written
    j_number bigint,
    j_entry bytea
)
RETURNS TABLE (id bytea, digest bytea) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    seen_id bytea[];          -- the records before the write: id and image (kms/FORMAT.md section 7.7)
    seen_image bytea[];
    old_image bytea;
    written bytea[];
    raced boolean;
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || p_namespace::text, true);
    -- The deletion of a run without a record waits for this lock, and was committed before the next statements if it came first.
    PERFORM 1 FROM strongroom.shards AS s WHERE s.shard_id = p_shard FOR KEY SHARE;
    SELECT array_agg(k.id), array_agg(k.image) INTO seen_id, seen_image
    FROM (
        SELECT s.id, '\x004d06'::bytea || uuid_send(s.namespace_id) || s.id || int8send(s.version) || int4send(s.k) || int8send(s.b1)
               || int8send(s.b2) || substr(s.s, octet_length(s.s) - 15) AS image
        FROM strongroom.visibility_records AS s
        WHERE s.shard_id = p_shard AND s.namespace_id = p_namespace AND s.id = ANY (v_id)
        ORDER BY s.id
        FOR UPDATE
    ) AS k;
    INSERT INTO strongroom.visibility_records AS stored (shard_id, namespace_id, id, version, k, b1, b2, t, s, h_workflow, h_run,
                                              h_type, h_status, h_queue, h_division)
    SELECT p_shard, p_namespace, v.id, v.version, v.k, v.b1, v.b2, v.t::bigint[], v.s,
           v.h_workflow, v.h_run, v.h_type, v.h_status, v.h_queue, v.h_division
    FROM unnest(v_id, v_version, v_epoch, v_close_bucket, v_start_bucket, v_tokens, v_sealed, v_h_workflow, v_h_run, v_h_type, v_h_status, v_h_queue, v_h_division)
         AS v (id, version, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division)
    WHERE NOT EXISTS (
        SELECT FROM strongroom.visibility_deletes AS d
        WHERE d.shard_id = p_shard AND d.namespace_id = p_namespace AND d.id = v.id AND d.version >= v.version
    )
    ON CONFLICT (shard_id, namespace_id, id)
    DO UPDATE SET version = excluded.version, k = excluded.k, b1 = excluded.b1, b2 = excluded.b2, t = excluded.t, s = excluded.s,
        h_workflow = excluded.h_workflow,
        h_run = excluded.h_run, h_type = excluded.h_type, h_status = excluded.h_status, h_queue = excluded.h_queue,
        h_division = excluded.h_division
    WHERE stored.version < excluded.version;
    -- The image of a record that was not written counts as replaced. A record that was replaced and not seen before is of another
    -- transaction that was committed meanwhile.
    SELECT coalesce(string_agg(k.image, ''), ''), array_agg(k.id) FILTER (WHERE k.is_written), coalesce(bool_or(k.is_unknown), false)
    INTO old_image, written, raced
    FROM (
        SELECT v.id, s.s IS NOT DISTINCT FROM v.s AS is_written, s.s = v.s AND s.xmax <> 0 AND o.image IS NULL AS is_unknown, CASE
            WHEN s.s = v.s THEN o.image
            ELSE '\x004d06'::bytea || uuid_send(p_namespace) || v.id || int8send(v.version) || int4send(v.k)
                || int8send(v.b1) || int8send(v.b2) || substr(v.s, octet_length(v.s) - 15)
        END AS image
        FROM unnest(v_id, v_version, v_epoch, v_close_bucket, v_start_bucket, v_sealed) AS v (id, version, k, b1, b2, s)
        LEFT JOIN strongroom.visibility_records AS s ON s.shard_id = p_shard AND s.namespace_id = p_namespace AND s.id = v.id
        LEFT JOIN unnest(seen_id, seen_image) AS o (id, image) ON o.id = v.id
    ) AS k;
    IF raced THEN
        RAISE 'another transaction wrote the first record of a run' USING ERRCODE = 'serialization_failure';
    END IF;
    INSERT INTO strongroom.journal (shard_id, writer, number, data, replaced) VALUES (p_shard, j_writer, j_number, j_entry, old_image);
    RETURN QUERY SELECT w.id, NULL::bytea FROM unnest(written) AS w (id);
    IF old_image <> '' THEN
        id := NULL; digest := sha256(old_image); RETURN NEXT;
    END IF;
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
