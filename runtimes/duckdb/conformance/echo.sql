-- $value (json)
-- result_collection=last_statement_first_row_scalar
select $value
