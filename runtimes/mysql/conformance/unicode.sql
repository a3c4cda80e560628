-- :text (text)
-- result_collection=last_statement_first_row_scalar
select :text
