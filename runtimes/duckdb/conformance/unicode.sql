-- $text (text)
-- result_collection=last_statement_first_row_scalar
copy (select $text) to '/dev/stdout' (format csv, header false, quote '', escape '', delimiter '|');
select $text
