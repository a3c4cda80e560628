-- $1 text
-- $2 integer (int)
-- $3 fraction
-- $4 truth
-- $5 nothing
-- $6 list (json)
-- $7 object
-- result_collection=last_statement_first_row
select $1 || '!' as text, $2 + 1 as integer, $3::float8 / 2 as fraction, not $4::bool as truth,
       $5::text is null as nothing, json_array_length($6) as list, $7::jsonb -> 'inner' as object
